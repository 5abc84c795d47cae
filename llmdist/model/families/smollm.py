"""SmolLM3: every fourth layer turns no positions (NoPE)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...errors import ModelError
from .base import Family, Fields, layer_windows

__all__ = ["SMOLLM3"]


def _smollm3(values: Mapping[str, Any], fields: Fields) -> Fields:
    layers = fields["num_layers"]
    every = int(values.get("no_rope_layer_interval") or 4)
    turns = values.get("no_rope_layers") or [int((i + 1) % every != 0) for i in range(layers)]
    if len(turns) < layers:
        raise ModelError(
            f"config.json gives {len(turns)} entries in no_rope_layers for {layers} layers: "
            "check the file, or download it again."
        )
    kinds = layer_windows(values, lambda layer: not turns[layer]) if values["use_sliding_window"] else fields["layers"]
    return {"layers": tuple(replace(kind, rope=0 if turn else None) for kind, turn in zip(kinds, turns, strict=False))}


SMOLLM3 = Family(
    "smollm3",
    {"num_key_value_heads": 4, "tie_word_embeddings": True, "use_sliding_window": False},
    _smollm3,
    default_theta=2e6,
)
