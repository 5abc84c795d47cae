"""Shapes of known models, for planning without a checkpoint: the sizes of every block, no weights.

Each entry holds the numbers of the model's public ``config.json`` that decide its sizes, and goes through
`ModelConfig` as a checkpoint's would. A mixture of experts is the dense model with every MLP replaced by a
router and groups of experts. What this is not: a model that can be run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..errors import ModelError
from .blocks import Block, ModelProfile
from .config import ModelConfig
from .profile import profile

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
#: Groups of experts that a layer is cut into: finer ones fill a cap better and multiply the blocks.
EXPERT_GROUPS = 8


@dataclass(frozen=True, slots=True)
class _Mixture:
    """`config` describes the attention, embedding and head; its intermediate size is one expert's."""

    config: dict[str, Any]
    experts: int
    top_k: int
    biases: bool = False  # of the router and of each expert's three matrices
    attention_extra: int = 0  # weights of a layer's attention that the dense config does not know


_MIXTURES: dict[str, _Mixture] = {
    "mixtral-8x7b": _Mixture(_config("llama", 4096, 14336, 32, 32, 8, 32000, 32768), 8, 2),
    "qwen3-30b-a3b": _Mixture(_config("qwen3", 2048, 768, 48, 32, 4, 151936, 40960, head_dim=128), 128, 8),
    # Every second layer attends to 128 tokens only; all are counted in full, so long contexts look dearer than
    # they are. Its experts are published in MXFP4 (4.25 bits), for which int4 (4.13 bits) stands.
    "gpt-oss-20b": _Mixture(
        _config("llama", 2880, 2880, 24, 64, 8, 201088, 131072, head_dim=64, attention_bias=True), 32, 4, True, 64
    ),
}


def shapes() -> tuple[str, ...]:
    """Return the names of the known models."""
    return (*_SHAPES, *_MIXTURES)


def shape(name: str) -> ModelProfile:
    """Return the sizes of a known model.

    Raises
    ------
    ModelError : no model has that name.
    """
    if name in _MIXTURES:
        return _mixture(name, _MIXTURES[name])
    if name not in _SHAPES:
        raise ModelError(f"No model shape {name!r} is known: choose one of {', '.join(shapes())}.")
    return profile(ModelConfig.from_hf(_SHAPES[name]), name)


def _mixture(name: str, mixture: _Mixture) -> ModelProfile:
    dense = profile(ModelConfig.from_hf(mixture.config), name)
    blocks: list[Block] = []
    for block in dense.blocks:
        if block.kind == "mlp":
            blocks += _expert_blocks(block.name.removesuffix("mlp"), dense.hidden_size, mixture)
        elif block.kind == "attention":
            weights = block.parameters + mixture.attention_extra
            blocks.append(replace(block, parameters=weights, parameters_per_token=weights))
        else:
            blocks.append(block)
    return replace(dense, blocks=tuple(blocks))


def _expert_blocks(prefix: str, hidden: int, mixture: _Mixture) -> list[Block]:
    """Return the router (with the norm before it) and the groups of experts of one layer."""
    experts, share = mixture.experts, mixture.top_k / mixture.experts
    inner = mixture.config["intermediate_size"]
    gate = hidden * experts
    weights = gate + hidden + experts * mixture.biases
    matrices = 3 * hidden * inner
    each = matrices + (2 * inner + hidden) * mixture.biases
    groups = min(EXPERT_GROUPS, experts)
    sizes = [experts // groups + (g < experts % groups) for g in range(groups)]
    return [
        Block(f"{prefix}router", "router", weights, weights, 2.0 * gate),
        *(
            Block(
                f"{prefix}experts.{g}", "experts", size * each, round(size * each * share),
                2.0 * size * matrices * share, experts=size, routed_share=share,
            )
            for g, size in enumerate(sizes)
        ),
    ]  # fmt: skip
