"""Which function computes which block: the one door from a block's name to the layers.

An executor gives the weights, the activation and the KV cache, and needs to know no kinds of blocks.
"""

from __future__ import annotations

from torch import Tensor

from ..kernels.int8_cache import Int8Cache
from .config import ModelConfig
from .layers import Rope, Weights, attention, mlp
from .moe import Routed, experts, route

__all__ = [
    "Activation", "KeysAndValues", "close_experts", "compute_expert", "compute_layer_block", "wanted_experts",
]  # fmt: skip

#: What passes between two blocks.
Activation = Tensor | Routed
#: The KV cache of one attention, for some sequences.
KeysAndValues = tuple[Tensor | Int8Cache, Tensor | Int8Cache]


def compute_layer_block(
    config: ModelConfig,
    name: str,
    w: Weights,
    x: Activation,
    rope: Rope,
    cache: KeysAndValues | None,
    start: int | tuple[int, ...],
) -> Activation:
    """Return what the block `name` (attention, MLP, router or experts of a layer) makes of `x`.

    `cache` are the keys and values of an attention, for the sequences of `x`, whose tokens start at `start`.
    """
    _, layer, kind, *group = name.split(".")
    if isinstance(x, Routed):
        number = int(group[0])
        return experts(config, w, x, config.expert_groups[number], number + 1 == len(config.expert_groups))
    if kind == "mlp":
        return mlp(config, w, x)
    if kind == "router":
        return route(config, w, x)
    assert cache is not None, f"{name} has no KV cache"
    shape = config.layers[int(layer)]
    cos, sin = rope.tables(start, x.shape[1], shape.rope)
    return attention(config, w, x, cos, sin, *cache, start, shape.window)


def wanted_experts(config: ModelConfig, name: str, x: Activation) -> frozenset[int] | None:
    """Return which experts of the block `name` compute for `x`; None for a block that is no group of experts."""
    if not isinstance(x, Routed) or ".experts." not in name:
        return None
    return x.chosen.intersection(config.expert_groups[int(name.rsplit(".", 1)[1])])


def compute_expert(config: ModelConfig, number: int, w: Weights, x: Activation) -> Activation:
    """Return `x` with what one expert gave to the tokens that go to it; `w` are the weights of that expert."""
    return experts(config, w, x, range(number, number + 1), False) if isinstance(x, Routed) else x


def close_experts(config: ModelConfig, name: str, x: Activation) -> Activation:
    """Return the residual stream behind the last group of a layer; `x` behind the others."""
    last = int(name.rsplit(".", 1)[1]) + 1 == len(config.expert_groups)
    return experts(config, {}, x, range(0), last) if isinstance(x, Routed) else x
