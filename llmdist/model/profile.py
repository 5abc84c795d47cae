"""The sizes and costs of every block, counted from the shapes of its tensors; no weight is read."""

from __future__ import annotations

from math import prod

from .blocks import Block, ModelProfile
from .config import ModelConfig
from .tensors import expected_tensors

__all__ = ["block_names", "profile"]


def block_names(config: ModelConfig) -> tuple[str, ...]:
    """Return every block's name in the order of computing."""
    middle = [f"layers.{i}.{kind}" for i in range(config.num_layers) for kind in ("attention", "mlp")]
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
    kind = name.rsplit(".", 1)[-1]
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
