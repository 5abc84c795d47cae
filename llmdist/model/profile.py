"""The sizes and costs of every block, counted from the shapes of its tensors; no weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

from .blocks import BYTES_PER_PARAMETER, Block, ModelProfile
from .config import ModelConfig
from .layout import block_bytes, block_slots
from .tensors import Expected, expected_tensors

__all__ = ["block_names", "profile", "sized_block"]


def block_names(config: ModelConfig) -> tuple[str, ...]:
    """Return every block's name in the order of computing."""
    routed = ("attention", "router", *(f"experts.{i}" for i in range(len(config.expert_groups))))
    middle = [
        f"layers.{i}.{part}"
        for i, layer in enumerate(config.layers)
        for part in (routed if layer.routed else ("attention", "mlp"))
    ]
    return ("embed", *middle, "head")


def profile(config: ModelConfig, name: str, divisible: bool = True) -> ModelProfile:
    """Return the sizes of every block of the model called `name`; not `divisible`: no matrix can be taken apart."""
    blocks = tuple(_block(config, block) for block in block_names(config))
    return ModelProfile(
        name, blocks, config.hidden_size, config.vocab_size, config.max_context, config.torch_dtype,
        shares_mlp=divisible and config.is_plain,
    )  # fmt: skip


def _block(config: ModelConfig, name: str) -> Block:
    tensors = expected_tensors(config, name)
    kind, *group = name.split(".")[2:] or [name]
    block = replace(sized_block(config, name, kind, tensors), stored_bytes=_stored_bytes(config, kind, tensors))
    if kind != "experts":
        return block
    share = config.experts_per_token / config.num_experts
    return replace(
        block,
        parameters_per_token=round(block.parameters * share),
        flops_per_token=block.flops_per_token * share,
        experts=len(config.expert_groups[int(group[0])]),
        routed_share=share,
    )


def _stored_bytes(config: ModelConfig, kind: str, tensors: Mapping[str, Expected]) -> dict[str, int]:
    """Return the bytes of the block's buffer at each precision; a tied embedding has none."""
    if kind == "embed" and config.tie_embeddings:
        return dict.fromkeys(BYTES_PER_PARAMETER, 0)
    shapes = {local: tensor.shape for local, tensor in tensors.items()}
    return {precision: block_bytes(block_slots(shapes, precision)) for precision in BYTES_PER_PARAMETER}


def sized_block(config: ModelConfig, name: str, kind: str, tensors: Mapping[str, Expected]) -> Block:
    """Return a block of which every token reads and multiplies all matrices (an embedding: one row)."""
    shapes = [tensor.shape for tensor in tensors.values()]
    weights = sum(prod(shape) for shape in shapes)
    if kind == "embed":
        return Block(name, kind, 0 if config.tie_embeddings else weights, config.hidden_size, 0.0)
    flops = 2.0 * sum(prod(shape) for shape in shapes if len(shape) == 2)
    attends = kind in ("attention", "layer")
    return Block(
        name,
        kind,
        weights,
        weights,
        flops,
        kv_elements_per_token=2 * config.num_kv_heads * config.head_dim if attends else 0,
        attention_flops_per_context=4.0 * config.num_heads * config.head_dim if attends else 0.0,
        kv_vectors_per_token=2 * config.num_kv_heads if attends else 0,
    )
