"""What each block computes: plain functions of weights and activations.

This is the definition that every executor must match; it knows no devices, files or placements.
Everything is computed in the type of the weights, except norms and RoPE angles (float32) and the
logits (returned as float32). Grouped query heads are folded into the query axis, so keys and values
are never repeated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import ModelConfig

__all__ = ["Rope", "attention", "embed", "head", "inverse_frequencies", "mlp", "rms_norm", "rope_tables"]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return `x` scaled to a root mean square of 1 along its last axis, times `weight`."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * wide.to(x.dtype)


def inverse_frequencies(config: ModelConfig) -> Tensor:
    """Return the head_dim / 2 rotation speeds (float32), scaled as the config asks."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    speeds = 1.0 / (config.rope_theta**exponents)
    scaling = config.rope_scaling
    if scaling is None:
        return speeds
    if scaling["rope_type"] == "linear":
        return speeds / float(scaling["factor"])
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    original = scaling["original_max_position_embeddings"]
    wavelengths = 2 * math.pi / speeds
    slowed = speeds / scaling["factor"]
    smooth = (original / wavelengths - low) / (high - low)
    blended = (1 - smooth) * slowed + smooth * speeds
    scaled = torch.where(wavelengths > original / low, slowed, blended)
    return torch.where(wavelengths < original / high, speeds, scaled)


class Rope:
    """The rotary tables of one device; the last ones are kept, as all layers of a pass share them."""

    def __init__(self, config: ModelConfig, device: str | torch.device = "cpu") -> None:
        self._speeds = inverse_frequencies(config).to(device)
        self._range = (0, 0)
        self._tables = (self._speeds[:0], self._speeds[:0])

    def tables(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        """Return cos and sin, each (count, head_dim / 2) float32, for positions from `start`."""
        if self._range != (start, count):
            positions = torch.arange(start, start + count, device=self._speeds.device).float()
            angles = positions[:, None] * self._speeds
            self._tables, self._range = (angles.cos(), angles.sin()), (start, count)
        return self._tables


def rope_tables(config: ModelConfig, device: str | torch.device = "cpu") -> Rope:
    """Return the rotary tables of the model on `device`."""
    return Rope(config, device)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair (i, i + head_dim / 2) of the last axis."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def attention(
    config: ModelConfig,
    w: Mapping[str, Tensor],
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    start: int,
) -> Tensor:
    """Return `x` plus the causal self-attention over all positions up to each token's own.

    Parameters
    ----------
    x : (batch, tokens, hidden), at positions `start` .. `start` + tokens.
    cos, sin : `Rope.tables` of the same positions.
    keys, values : static caches (batch, kv_heads, context, head_dim); the new entries are written.
    """
    batch, tokens, _ = x.shape
    end, groups = start + tokens, config.num_heads // config.num_kv_heads
    normed = rms_norm(x, w["input_norm"], config.rms_norm_eps)
    q = F.linear(normed, w["q"], w.get("q_bias")).view(batch, tokens, -1, config.head_dim)
    k = F.linear(normed, w["k"], w.get("k_bias")).view(batch, tokens, -1, config.head_dim)
    v = F.linear(normed, w["v"], w.get("v_bias")).view(batch, tokens, -1, config.head_dim)
    if config.qk_norm:
        q = rms_norm(q, w["q_norm"], config.rms_norm_eps)
        k = rms_norm(k, w["k_norm"], config.rms_norm_eps)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    q = _rotate(q.transpose(1, 2), cos, sin)
    keys[:, :, start:end] = _rotate(k.transpose(1, 2), cos, sin)
    values[:, :, start:end] = v.transpose(1, 2)
    mask = None
    if tokens > 1:
        mask = torch.ones(tokens, end, dtype=torch.bool, device=x.device).tril(start).repeat(groups, 1)
    folded = q.reshape(batch, config.num_kv_heads, groups * tokens, config.head_dim)
    mixed = F.scaled_dot_product_attention(folded, keys[:, :, :end], values[:, :, :end], attn_mask=mask)
    mixed = mixed.reshape(batch, config.num_heads, tokens, config.head_dim)
    flat = mixed.transpose(1, 2).reshape(batch, tokens, -1)
    return x + F.linear(flat, w["o"], w.get("o_bias"))


def mlp(config: ModelConfig, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return `x` plus the gated MLP of its norm."""
    normed = rms_norm(x, w["post_norm"], config.rms_norm_eps)
    gated = F.silu(F.linear(normed, w["gate"])).mul_(F.linear(normed, w["up"]))
    return x + F.linear(gated, w["down"])


def embed(weight: Tensor, tokens: Tensor) -> Tensor:
    """Return the rows of `weight` (vocab_size, hidden) for integer `tokens` of any shape."""
    return F.embedding(tokens, weight)


def head(config: ModelConfig, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return the float32 logits (..., vocab_size) of `x` (..., hidden): the final norm, then lm_head."""
    return F.linear(rms_norm(x, w["norm"], config.rms_norm_eps), w["lm_head"]).float()
