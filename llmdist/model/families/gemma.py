"""Gemma 1, 2 and 3 (text): norm weights + 1, scaled embeddings, GELU; then norms on both sides, windows, caps.

Gemma 3 turns its windowed layers by a rotary embedding of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .base import NORMS_BOTH, Family, Fields, layer_windows, number_or_none
from .rope import rope_kind

__all__ = ["GEMMA", "GEMMA2", "GEMMA3"]

_DEFAULTS = {"tie_word_embeddings": True, "head_dim": 256, "hidden_act": "gelu_pytorch_tanh"}
_CAPPED = {**_DEFAULTS, "num_key_value_heads": 4, "query_pre_attn_scalar": 256, "sliding_window": 4096}


def _gemma(values: Mapping[str, Any], fields: Fields) -> Fields:
    return {"norm_offset": 1.0, "embedding_scale": fields["hidden_size"] ** 0.5}


def _capped(values: Mapping[str, Any], fields: Fields) -> Fields:
    return {
        **_gemma(values, fields),
        "attention_scale": float(values["query_pre_attn_scalar"]) ** -0.5,
        "attention_soft_cap": number_or_none(values.get("attn_logit_softcapping")),
        "logit_soft_cap": number_or_none(values.get("final_logit_softcapping")),
    }


def _gemma2(values: Mapping[str, Any], fields: Fields) -> Fields:
    return {**_capped(values, fields), "layers": layer_windows(values, lambda layer: layer % 2 == 0)}


def _gemma3(values: Mapping[str, Any], fields: Fields) -> Fields:
    every = int(values.get("sliding_window_pattern") or 6)
    kinds = layer_windows(values, lambda layer: (layer + 1) % every != 0)
    given = values.get("rope_parameters") or {}
    whole = given.get("full_attention") or values.get("rope_scaling") or {}
    local = given.get("sliding_attention") or {}
    whole_theta = float(values.get("rope_theta") or 1e6)
    local_theta = float(values.get("rope_local_base_freq") or 1e4)
    return {
        **_capped(values, fields),
        "attention_soft_cap": None,  # transformers reads the key and does not apply it
        "qk_norm": "head",
        "ropes": (
            rope_kind(whole, values, fields["head_dim"], whole_theta),
            rope_kind(local, values, fields["head_dim"], local_theta),
        ),
        "layers": tuple(replace(kind, rope=0 if kind.window is None else 1) for kind in kinds),
    }


GEMMA = Family("gemma", {**_DEFAULTS, "num_key_value_heads": 16}, _gemma)
GEMMA2 = Family(
    "gemma2", {**_CAPPED, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}, _gemma2, NORMS_BOTH
)
GEMMA3 = Family(
    "gemma3_text",
    {**_CAPPED, "num_attention_heads": 8, "vocab_size": 262208, "max_position_embeddings": 131072},
    _gemma3,
    NORMS_BOTH,
)
