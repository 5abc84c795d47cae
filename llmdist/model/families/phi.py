"""Phi-3 and Phi-4: q, k, v and gate, up lie stacked in the file; LongRoPE; a part of each head rotates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Family, Fields, layer_windows
from .rope import read_rope

__all__ = ["PHI3"]


def _phi3(values: Mapping[str, Any], fields: Fields) -> Fields:
    given = dict(values.get("rope_parameters") or values.get("rope_scaling") or {})
    if given.get("rope_type", given.get("type")) in ("su", "yarn"):  # older names of the same thing
        given["rope_type"] = "longrope"
    return {
        "layers": layer_windows({**values, "layer_types": None}, lambda layer: True),
        "ropes": (read_rope({**values, "rope_parameters": given}, fields["head_dim"], PHI3.default_theta),),
        "attention_bias": False,
        "output_bias": False,
    }


PHI3 = Family(
    "phi3",
    {"rms_norm_eps": 1e-5, "original_max_position_embeddings": 4096},
    _phi3,
    fused={("q", "k", "v"): "self_attn.qkv_proj", ("gate", "up"): "mlp.gate_up_proj"},
)
