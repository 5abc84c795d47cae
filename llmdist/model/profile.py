"""The sizes and costs of every block, counted from the shapes of its tensors; no weight is read."""

from __future__ import annotations

from math import prod

from .blocks import Block, ModelProfile
from .config import ModelConfig
from .tensors import expected_tensors

__all__ = ["block_names", "profile"]


def block_names(config: ModelConfig) -> tuple[str, ...]:
    """Return every block's name in the order of computing."""
    routed = ("attention", "router", *(f"experts.{i}" for i in range(len(config.expert_groups))))
    middle = [
        f"layers.{i}.{part}"
        for i, layer in enumerate(config.layers)
        for part in (routed if layer.routed else ("attention", "mlp"))
    ]
    return ("embed", *middle, "head")


def profile(config: ModelConfig, name: str) -> ModelProfile:
    """Return the sizes of every block of the model called `name`."""
    blocks = tuple(_block(config, block) for block in block_names(config))
    return ModelProfile(
        name, blocks, config.hidden_size, config.vocab_size, config.max_context, config.torch_dtype
    )


def _block(config: ModelConfig, name: str) -> Block:
    shapes = [tensor.shape for tensor in expected_tensors(config, name).values()]
    weights = sum(prod(shape) for shape in shapes)
    flops = 2.0 * sum(prod(shape) for shape in shapes if len(shape) == 2)
    if name == "embed":
        return Block(name, "embed", 0 if config.tie_embeddings else weights, config.hidden_size, 0.0)
    kind, *group = name.split(".")[2:] or [name]
    if kind == "experts":
        count, share = len(config.expert_groups[int(group[0])]), config.experts_per_token / config.num_experts
        return Block(name, kind, weights, round(weights * share), flops * share, experts=count, routed_share=share)
    if kind != "attention":
        return Block(name, kind, weights, weights, flops)
    return Block(
        name,
        kind,
        weights,
        weights,
        flops,
        kv_elements_per_token=2 * config.num_kv_heads * config.head_dim,
        attention_flops_per_context=4.0 * config.num_heads * config.head_dim,
    )
