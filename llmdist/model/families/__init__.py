"""The families of models that are computed by our own layers: one small file each, one registry.

A family says what transformers assumes when a key of ``config.json`` is left out, what differs from Llama, and how
its tensors are called in the file. Nothing outside this folder knows Hugging Face's spellings.
"""

from .base import Family
from .common import is_foreign, read_fields
from .registry import FAMILIES
from .rope import ROPE_TYPES

__all__ = ["FAMILIES", "ROPE_TYPES", "Family", "is_foreign", "read_fields"]
