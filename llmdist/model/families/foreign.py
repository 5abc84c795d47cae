"""The fields of `ModelConfig` for a model that transformers computes: what planning and the session need.

transformers' own config class maps the many spellings of these numbers to common ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..kinds import LayerKind
from .base import Fields
from .common import dtype_name, token_ids

__all__ = ["read_foreign_fields"]

_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_DEFAULT_CONTEXT = 2048  # ALiBi models name no longest context


def read_foreign_fields(
    config: Any, raw: Mapping[str, Any], table: tuple[int, ...], layers: int, tied: bool
) -> Fields:
    """Return the fields from transformers' `config`; `table` is the shape of the embedding."""
    hidden, heads = int(config.hidden_size), int(config.num_attention_heads)
    contexts = [getattr(config, key, None) for key in _CONTEXT_KEYS]
    head_dim = int(getattr(config, "head_dim", None) or hidden // heads)
    return {
        "family": str(raw["model_type"]),
        "hidden_size": hidden,
        "intermediate_size": int(getattr(config, "intermediate_size", None) or 4 * hidden),
        "num_layers": layers,
        "num_heads": heads,
        "num_kv_heads": _kv_heads(config, heads),
        "head_dim": head_dim,
        "vocab_size": table[0],
        "max_context": next((int(length) for length in contexts if length), _DEFAULT_CONTEXT),
        "rms_norm_eps": 0.0,
        "ropes": (),
        "layers": (LayerKind(),) * layers,
        "tie_embeddings": tied,
        "attention_bias": False,
        "output_bias": False,
        "qk_norm": None,
        "eos_token_ids": token_ids(config.eos_token_id),
        "bos_token_id": config.bos_token_id,
        "torch_dtype": dtype_name(raw),
        "attention_scale": head_dim**-0.5,
        "foreign": True,
    }


def _kv_heads(config: Any, heads: int) -> int:
    """Return the heads of keys and values; the multi-query flag of Falcon and StarCoder means one."""
    if getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False):
        return 1
    return int(getattr(config, "num_key_value_heads", None) or getattr(config, "num_kv_heads", None) or heads)
