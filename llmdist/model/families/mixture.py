"""Mixtures of experts: Mixtral on Mistral's layers, Qwen3-MoE on Qwen 3's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...errors import ModelError
from ..kinds import LayerKind
from .base import ExpertNames, Family, Fields, layer_windows

__all__ = ["MIXTRAL", "QWEN3_MOE"]


def _experts(values: Mapping[str, Any], size: Any, layers: tuple[LayerKind, ...], normalise: bool) -> Fields:
    """Return the fields of a mixture; ModelError when its numbers cannot be."""
    count = values.get("num_local_experts", values.get("num_experts"))
    top = values["num_experts_per_tok"]
    if not all(isinstance(n, int) and n > 0 for n in (count, top, size)) or top > count:
        raise ModelError(
            f"config.json gives {count!r} experts of inner size {size!r}, {top!r} of them per token: whole numbers "
            "above 0 are needed, and no more per token than there are; check the file, or download it again."
        )
    return {
        "num_experts": count,
        "experts_per_token": top,
        "expert_size": size,
        "normalise_routing": normalise,
        "layers": layers,
    }


def _mixtral(values: Mapping[str, Any], fields: Fields) -> Fields:
    kinds = layer_windows({**values, "layer_types": None}, lambda layer: True)
    routed = tuple(replace(kind, routed=True) for kind in kinds)
    biases = {"attention_bias": False, "output_bias": False}
    return {**_experts(values, values["intermediate_size"], routed, normalise=True), **biases}


def _qwen3_moe(values: Mapping[str, Any], fields: Fields) -> Fields:
    kinds = fields["layers"]
    if values["use_sliding_window"]:
        kinds = layer_windows({**values, "layer_types": None}, lambda layer: True)
    dense, every = values.get("mlp_only_layers") or (), int(values["decoder_sparse_step"])
    routed = tuple(
        replace(kind, routed=i not in dense and (i + 1) % every == 0) for i, kind in enumerate(kinds)
    )
    mixture = _experts(values, values["moe_intermediate_size"], routed, bool(values["norm_topk_prob"]))
    return {**mixture, "qk_norm": "head"}


MIXTRAL = Family(
    "mixtral",
    {"num_key_value_heads": 8, "rms_norm_eps": 1e-5, "num_experts_per_tok": 2, "num_local_experts": 8},
    _mixtral,
    default_theta=1e6,
    experts=ExpertNames("block_sparse_moe.gate", "block_sparse_moe.experts", gate="w1", up="w3", down="w2"),
)
QWEN3_MOE = Family(
    "qwen3_moe",
    {"num_key_value_heads": 4, "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
     "decoder_sparse_step": 1, "norm_topk_prob": False, "use_sliding_window": False, "sliding_window": 4096},
    _qwen3_moe,
    experts=ExpertNames("mlp.gate", "mlp.experts", gate="gate_proj", up="up_proj", down="down_proj"),
)  # fmt: skip
