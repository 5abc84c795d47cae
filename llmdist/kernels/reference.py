"""What each kernel computes, in plain torch and float64: the definition that the fast ones are tested against.

No rounding happens in between, so the distance of a kernel from these is its whole error. Weights are (rows, columns).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["attention", "gateup_swiglu", "projection", "rms_norm", "rotate"]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return `x` (..., columns) over its root mean square, times `weight`."""
    wide = x.double()
    return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.double()


def projection(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `x` (vectors, columns) times `weight` (rows, columns), plus `bias`."""
    product = x.double() @ weight.double().T
    return product if bias is None else product + bias.double()


def gateup_swiglu(x: Tensor, weight: Tensor) -> Tensor:
    """Return silu(gate) * up (vectors, rows / 2); `weight` holds gate above up."""
    gate, up = projection(x, weight).chunk(2, dim=-1)
    return gate * torch.sigmoid(gate) * up


def rotate(x: Tensor, positions: Tensor, speeds: Tensor) -> Tensor:
    """Return `x` (batch, heads, head_dim) with pair (i, i + head_dim / 2) turned by `positions` * `speeds`."""
    angles = (positions.float()[:, None] * speeds.float()).double()[:, None]
    first, second = x.double().chunk(2, dim=-1)
    return torch.cat((first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()), -1)


def attention(query: Tensor, keys: Tensor, values: Tensor, positions: Tensor) -> Tensor:
    """Return the attention of `query` (batch, heads, head_dim) over each sequence's cache up to its position."""
    groups = query.shape[1] // keys.shape[1]
    out = torch.empty(query.shape, dtype=torch.float64, device=query.device)
    for b, position in enumerate(positions.tolist()):
        k = keys[b, :, : position + 1].double().repeat_interleave(groups, 0)
        v = values[b, :, : position + 1].double().repeat_interleave(groups, 0)
        scores = torch.einsum("hd,htd->ht", query[b].double(), k) / math.sqrt(query.shape[-1])
        out[b] = torch.einsum("ht,htd->hd", scores.softmax(-1), v)
    return out
