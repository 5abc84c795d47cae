"""Llama, from which all others differ, and Mistral with its sliding window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Family, Fields, layer_windows

__all__ = ["LLAMA", "MISTRAL"]


def _mistral(values: Mapping[str, Any], fields: Fields) -> Fields:
    return {
        "layers": layer_windows({**values, "layer_types": None}, lambda layer: True),
        "attention_bias": False,
        "output_bias": False,
    }


LLAMA = Family("llama")
MISTRAL = Family("mistral", {"num_key_value_heads": 8, "sliding_window": 4096}, _mistral)
