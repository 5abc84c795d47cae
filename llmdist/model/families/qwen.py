"""Qwen 2, 2.5 and 3: biases on q, k and v, or norms of single heads; windows in the upper layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Family, Fields, layer_windows

__all__ = ["QWEN2", "QWEN3"]

_DEFAULTS = {
    "num_key_value_heads": 32, "sliding_window": 4096, "use_sliding_window": False, "max_window_layers": 28,
}  # fmt: skip


def _windows(values: Mapping[str, Any]) -> Fields:
    if not values["use_sliding_window"]:
        return {}
    return {"layers": layer_windows(values, lambda layer: layer >= values["max_window_layers"])}


def _qwen2(values: Mapping[str, Any], fields: Fields) -> Fields:
    return {"attention_bias": True, "output_bias": False, **_windows(values)}


def _qwen3(values: Mapping[str, Any], fields: Fields) -> Fields:
    return {"qk_norm": "head", **_windows(values)}


QWEN2 = Family("qwen2", _DEFAULTS, _qwen2)
QWEN3 = Family("qwen3", {**_DEFAULTS, "head_dim": 128}, _qwen3)
