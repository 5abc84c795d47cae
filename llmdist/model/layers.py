"""What each block computes: plain functions of weights and activations.

This is the definition that every executor must match; it knows no devices, files or placements.
Everything is computed in the type of the activations, except norms and RoPE angles (float32) and the logits
(returned as float32). Products go through `kernels.linear`, which takes weights of any precision. Grouped query heads
are folded into the query axis, so keys and values are never repeated. A family differs by the config's numbers and by
which norms and biases its weights hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import linear
from ..kernels.int8_cache import Int8Cache, quantise_rows
from .config import ModelConfig
from .rope import Rope, inverse_frequencies, positions, rope_tables

__all__ = [
    "Rope", "Weights", "attention", "embed", "gated", "head", "inverse_frequencies", "mlp", "mlp_share", "norm",
    "rms_norm", "rope_tables", "scale_embedding",
]  # fmt: skip

Weights = Mapping[str, Any]  # tensors, or `PackedMatrix` where a matrix is quantised

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}


def rms_norm(x: Tensor, weight: Tensor, eps: float, offset: float = 0.0) -> Tensor:
    """Return `x` scaled to a root mean square of 1 along its last axis, times `weight` + `offset`."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    if offset:  # Gemma multiplies before it rounds
        return (wide * (offset + weight.float())).to(x.dtype)
    return (weight * wide.to(x.dtype)).to(x.dtype)  # the norms of a quantised block are float32


def norm(config: ModelConfig, w: Weights, name: str, x: Tensor) -> Tensor:
    """Return the norm of `x` by the weights called `name`; `x` itself where the block has no such norm."""
    weight = w.get(name)
    return x if weight is None else rms_norm(x, weight, config.rms_norm_eps, config.norm_offset)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair (i, i + width) of the last axis, width being that of the tables; the rest passes."""
    width = cos.shape[-1]
    if width == 0:
        return x
    first, second, rest = x[..., :width], x[..., width : 2 * width], x[..., 2 * width :]
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), dim=-1)


def _look_back(
    start: int | tuple[int, ...], tokens: int, first: int, end: int, window: int | None, device: torch.device
) -> Tensor:
    """Return the mask of what each query sees of the keys `first` .. `end`: (tokens, keys).

    With one start per sequence it is (batch, 1, tokens, keys).
    """
    queries = positions(start, tokens, device)[..., None]
    keys = torch.arange(first, end, device=device)
    seen = keys <= queries
    return seen if window is None else seen & (keys > queries - window)


def _append(cache: Tensor | Int8Cache, new: Tensor, start: int | tuple[int, ...]) -> None:
    """Write `new` (batch, heads, tokens, head_dim) into the cache from each sequence's start."""
    if isinstance(cache, Int8Cache):
        rounded, scales = quantise_rows(new)
        _append(cache.values, rounded, start)
        _append(cache.scales, scales, start)
        return
    tokens = new.shape[2]
    if isinstance(start, int):
        cache[:, :, start : start + tokens] = new
        return
    rows = torch.arange(len(start), device=cache.device)[:, None]
    cache[rows, :, positions(start, tokens, cache.device)[:, 0]] = new.transpose(1, 2)


def _mix(config: ModelConfig, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the values mixed by the soft-maximum of q x keys, capped where the config asks."""
    cap = config.attention_soft_cap
    if cap is None:
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=config.attention_scale)
    scores = torch.tanh(q @ keys.transpose(-1, -2) * config.attention_scale / cap) * cap
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype) @ values


def _mix_cached(
    config: ModelConfig, q: Tensor, keys: Tensor | Int8Cache, values: Tensor | Int8Cache, seen: slice,
    mask: Tensor | None,
) -> Tensor:  # fmt: skip
    """Return what `_mix` makes of the positions `seen` of the caches; in 8 bits one kv head is unpacked at a time."""
    if isinstance(keys, Tensor) and isinstance(values, Tensor):
        return _mix(config, q, keys[:, :, seen], values[:, :, seen], mask)
    assert isinstance(keys, Int8Cache) and isinstance(values, Int8Cache)
    heads = (
        _mix(
            config, q[:, h : h + 1], keys.plain(h, seen.start, seen.stop, q.dtype),
            values.plain(h, seen.start, seen.stop, q.dtype), mask,
        )
        for h in range(q.shape[1])
    )  # fmt: skip
    return torch.cat(list(heads), dim=1)


def attention(
    config: ModelConfig,
    w: Weights,
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor | Int8Cache,
    values: Tensor | Int8Cache,
    start: int | tuple[int, ...],
    window: int | None = None,
) -> Tensor:
    """Return `x` plus the causal self-attention over the positions up to each token's own.

    Parameters
    ----------
    x : (batch, tokens, hidden), at positions `start` .. `start` + tokens; one start, or one per sequence.
    cos, sin : `Rope.tables` of the same positions and of the layer's kind.
    keys, values : static caches (batch, kv_heads, context, head_dim), plain or in 8 bits; the new entries are written.
    window : how many positions each token sees, its own included; None is all.
    """
    batch, tokens, _ = x.shape
    ragged = not isinstance(start, int)
    lowest, highest = (min(start), max(start)) if isinstance(start, tuple) else (start, start)
    end, groups = highest + tokens, config.num_heads // config.num_kv_heads
    q, k, v = _project(config, w, norm(config, w, "input_norm", x))
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    q = _rotate(q.transpose(1, 2), cos, sin)
    _append(keys, _rotate(k.transpose(1, 2), cos, sin), start)
    _append(values, v.transpose(1, 2), start)
    first = 0 if window is None else max(0, lowest - window + 1)
    mask = None
    if tokens > 1 or ragged:
        mask = _look_back(start, tokens, first, end, window, x.device)
        mask = mask.repeat(*(1,) * (mask.dim() - 2), groups, 1)
    folded = q.reshape(batch, config.num_kv_heads, groups * tokens, config.head_dim)
    mixed = _mix_cached(config, folded, keys, values, slice(first, end), mask)
    mixed = mixed.reshape(batch, config.num_heads, tokens, config.head_dim)
    flat = mixed.transpose(1, 2).reshape(batch, tokens, -1)
    return x + norm(config, w, "output_norm", linear(flat, w["o"], w.get("o_bias")))


def _project(config: ModelConfig, w: Weights, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values, each (batch, tokens, heads, head_dim), normed where the family does."""
    heads = (*x.shape[:2], -1, config.head_dim)
    q, k, v = (linear(x, w[part], w.get(f"{part}_bias")) for part in ("q", "k", "v"))
    if config.qk_norm == "all":  # over all heads together
        q, k = norm(config, w, "q_norm", q), norm(config, w, "k_norm", k)
    q, k, v = q.view(heads), k.view(heads), v.view(heads)
    if config.qk_norm == "head":
        q, k = norm(config, w, "q_norm", q), norm(config, w, "k_norm", k)
    return q, k, v


def gated(config: ModelConfig, x: Tensor, gate: Any, up: Any) -> Tensor:
    """Return act(x gate) x (x up), the inner activations of an MLP or an expert."""
    return _ACTIVATIONS[config.activation](linear(x, gate)).mul_(linear(x, up))


def mlp(config: ModelConfig, w: Weights, x: Tensor) -> Tensor:
    """Return `x` plus the gated MLP of its norm."""
    return x + norm(config, w, "output_norm", mlp_share(config, w, x))


def mlp_share(config: ModelConfig, w: Weights, x: Tensor) -> Tensor:
    """Return what the neurons whose weights `w` holds, all or some of an MLP's, make of the norm of `x`."""
    inner = gated(config, norm(config, w, "post_norm", x), w["gate"], w["up"])
    return linear(inner, w["down"])


def embed(weight: Tensor, tokens: Tensor) -> Tensor:
    """Return the rows of `weight` (vocab_size, hidden) for integer `tokens` of any shape."""
    return F.embedding(tokens, weight)


def scale_embedding(config: ModelConfig, rows: Tensor) -> Tensor:
    """Return embedding rows times the config's factor, which is rounded to their type first (as Gemma does)."""
    if config.embedding_scale == 1.0:
        return rows
    return rows * torch.tensor(config.embedding_scale, dtype=rows.dtype, device=rows.device)


def head(config: ModelConfig, w: Weights, x: Tensor) -> Tensor:
    """Return the float32 logits (..., vocab_size) of `x` (..., hidden): the final norm, lm_head, the soft cap."""
    logits = linear(norm(config, w, "norm", x), w["lm_head"]).float()
    cap = config.logit_soft_cap
    return logits if cap is None else torch.tanh(logits / cap) * cap
