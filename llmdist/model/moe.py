"""A mixture of experts: the router chooses a few experts per token, and only those compute.

Between the router and the last group of experts the activation is a `Routed`: the residual stream, its norm, which
experts each token goes to, and the sum of what the experts gave so far. A group that no token goes to needs no
weights. Weights are summed in the order of the experts, as transformers does, so the tokens are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..kernels import linear
from .config import ModelConfig
from .layers import Weights, gated, norm

__all__ = ["Routed", "experts", "route"]


@dataclass(frozen=True, slots=True, eq=False)
class Routed:
    """Tokens on their way through the experts of one layer; `rows` are the batch's tokens in a line.

    `x` is (batch, tokens, hidden), `normed` and `mixed` (rows, hidden), `experts` (rows, top_k) int64 and `weights`
    (rows, top_k) float32. `chosen` are the experts that any token goes to.
    """

    x: Tensor
    normed: Tensor
    mixed: Tensor
    experts: Tensor
    weights: Tensor
    chosen: frozenset[int]

    def to(self, device: str) -> Routed:
        """Return the same on `device`."""
        moved = {name: getattr(self, name).to(device) for name in ("x", "normed", "mixed", "experts", "weights")}
        return replace(self, **moved)


def route(config: ModelConfig, w: Weights, x: Tensor) -> Routed:
    """Return `x` with the experts of each token: the `experts_per_token` largest of the soft-maximum of its norm."""
    normed = norm(config, w, "post_norm", x).reshape(-1, config.hidden_size)
    shares = torch.softmax(linear(normed, w["gate"]), dim=-1, dtype=torch.float32)
    weights, chosen = torch.topk(shares, config.experts_per_token, dim=-1)
    if config.normalise_routing:
        weights = weights / weights.sum(dim=-1, keepdim=True)
    return Routed(x, normed, torch.zeros_like(normed), chosen, weights, frozenset(chosen.flatten().tolist()))


def experts(config: ModelConfig, w: Weights, routed: Routed, group: range, last: bool) -> Routed | Tensor:
    """Return `routed` with what the experts of `group` gave; after the `last` group the residual stream again.

    `w` holds ``gate.5``, ``up.5``, ``down.5`` of every expert of the group that is chosen; others are not read.
    """
    mixed = routed.mixed
    for expert in sorted(routed.chosen.intersection(group)):
        rows, place = torch.where(routed.experts == expert)
        inner = gated(config, routed.normed[rows], w[f"gate.{expert}"], w[f"up.{expert}"])
        given = linear(inner, w[f"down.{expert}"]) * routed.weights[rows, place, None]
        mixed = mixed.index_add(0, rows, given.to(mixed.dtype))
    return routed.x + mixed.view_as(routed.x) if last else replace(routed, mixed=mixed)
