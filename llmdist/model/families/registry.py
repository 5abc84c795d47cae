"""Every family by its ``model_type``; adding one is a file beside this and a line here."""

from __future__ import annotations

from . import gemma, llama, mixture, olmo, phi, qwen, smollm
from .base import Family

__all__ = ["FAMILIES"]

_ALL = (
    llama.LLAMA, llama.MISTRAL, qwen.QWEN2, qwen.QWEN3, gemma.GEMMA, gemma.GEMMA2, gemma.GEMMA3, phi.PHI3,
    olmo.OLMO2, smollm.SMOLLM3, mixture.MIXTRAL, mixture.QWEN3_MOE,
)  # fmt: skip
FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}
