"""Shapes of known models, for planning without a checkpoint: the sizes of every block, no weights.

Each entry holds the numbers of the model's public ``config.json`` that decide its sizes, and goes through
`ModelConfig` as a checkpoint's would. What this is not: a model that can be run.
"""

from __future__ import annotations

from typing import Any

from ..errors import ModelError
from .blocks import ModelProfile
from .config import ModelConfig, profile

__all__ = ["shape", "shapes"]


def _config(
    family: str, hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, vocab: int, context: int,
    dtype: str = "bfloat16", **more: Any,
) -> dict[str, Any]:  # fmt: skip
    return {
        "model_type": family, "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocab,
        "max_position_embeddings": context, "torch_dtype": dtype, "tie_word_embeddings": False, **more,
    }  # fmt: skip


_SHAPES: dict[str, dict[str, Any]] = {
    "llama-2-7b": _config("llama", 4096, 11008, 32, 32, 32, 32000, 4096, "float16"),
    "llama-3-8b": _config("llama", 4096, 14336, 32, 32, 8, 128256, 8192),
    "llama-2-13b": _config("llama", 5120, 13824, 40, 40, 40, 32000, 4096, "float16"),
    "qwen3-8b": _config("qwen3", 4096, 12288, 36, 32, 8, 151936, 40960, head_dim=128),
    "qwen2.5-32b": _config("qwen2", 5120, 27648, 64, 40, 8, 152064, 131072),
    "llama-3-70b": _config("llama", 8192, 28672, 80, 64, 8, 128256, 8192),
}


def shapes() -> tuple[str, ...]:
    """Return the names of the known models."""
    return tuple(_SHAPES)


def shape(name: str) -> ModelProfile:
    """Return the sizes of a known model.

    Raises
    ------
    ModelError : no model has that name.
    """
    if name not in _SHAPES:
        raise ModelError(f"No model shape {name!r} is known: choose one of {', '.join(shapes())}.")
    return profile(ModelConfig.from_hf(_SHAPES[name]), name)
