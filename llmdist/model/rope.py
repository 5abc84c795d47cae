"""Rotary embeddings: rotation speeds of every type, and the cosine and sine tables of a pass.

The pairing is half-split: element i turns with element i + dims / 2. A table of width 0 turns nothing, which
is how layers without positions are computed by the same code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .config import ModelConfig
from .kinds import RopeKind

__all__ = ["Rope", "inverse_frequencies", "positions", "rope_tables", "table_scale"]


def positions(start: int | tuple[int, ...], count: int, device: str | torch.device) -> Tensor:
    """Return the positions of `count` tokens: (count,) int64, or (batch, 1, count) for one start per sequence."""
    steps = torch.arange(count, device=device)
    return start + steps if isinstance(start, int) else torch.tensor(start, device=device)[:, None, None] + steps


def inverse_frequencies(kind: RopeKind) -> Tensor:
    """Return the dims / 2 rotation speeds (float32), stretched as `kind` asks.

    ``dynamic`` changes nothing up to the trained context, beyond which no plan goes; ``longrope`` uses its short
    factors, which hold up to the original context, beyond which no plan goes either.
    """
    exponents = torch.arange(0, kind.dims, 2, dtype=torch.float32) / kind.dims
    speeds = torch.pow(kind.theta, exponents).reciprocal()
    if kind.type == "linear":
        return speeds / float(kind.numbers["factor"])
    if kind.type == "llama3":
        return _llama3(speeds, kind.numbers)
    if kind.type == "yarn":
        return _yarn(speeds, kind)
    if kind.type == "longrope":
        return speeds / torch.tensor(kind.numbers["short_factor"], dtype=torch.float32)
    return speeds


def _llama3(speeds: Tensor, numbers: Mapping[str, Any]) -> Tensor:
    """Return speeds of which the slow ones are slowed further, the middle ones blended (Llama 3.1)."""
    low, high = numbers["low_freq_factor"], numbers["high_freq_factor"]
    original = numbers["original_max_position_embeddings"]
    wavelengths = 2 * math.pi / speeds
    slowed = speeds / numbers["factor"]
    smooth = (original / wavelengths - low) / (high - low)
    blended = (1 - smooth) * slowed + smooth * speeds
    scaled = torch.where(wavelengths > original / low, slowed, blended)
    return torch.where(wavelengths < original / high, speeds, scaled)


def _yarn(speeds: Tensor, kind: RopeKind) -> Tensor:
    """Return speeds blended by a ramp over the dimensions (YaRN, arXiv 2309.00071, section 3.2)."""

    def turning(rotations: float) -> float:
        """Return the dimension that turns `rotations` times within the original context."""
        original = kind.numbers["original_max_position_embeddings"]
        return kind.dims * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(kind.theta))

    low, high = turning(kind.numbers["beta_fast"]), turning(kind.numbers["beta_slow"])
    if kind.numbers["truncate"]:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, kind.dims - 1)
    ramp = (torch.arange(kind.dims // 2, dtype=torch.float32) - low) / (high - low or 0.001)
    kept = 1 - ramp.clamp(0, 1)
    slowed = speeds / float(kind.numbers["factor"])
    return slowed * (1 - kept) + speeds * kept


def table_scale(kind: RopeKind) -> float:
    """Return the factor on cosine and sine: YaRN and LongRoPE sharpen the attention with it, others are 1."""
    given = kind.numbers.get("attention_factor")
    if kind.type not in ("yarn", "longrope") or given is not None:
        return 1.0 if given is None else float(given)
    factor = kind.numbers["factor"]
    if factor <= 1:
        return 1.0
    if kind.type == "longrope":
        return math.sqrt(1 + math.log(factor) / math.log(kind.numbers["original_max_position_embeddings"]))
    scale, scale_all = kind.numbers.get("mscale"), kind.numbers.get("mscale_all_dim")
    grown = 0.1 * math.log(factor)
    return (scale * grown + 1) / (scale_all * grown + 1) if scale and scale_all else grown + 1


class Rope:
    """The rotary tables of one device; the last ones are kept, as the layers of a pass share them."""

    def __init__(self, config: ModelConfig, device: str | torch.device = "cpu") -> None:
        self._speeds = [inverse_frequencies(kind).to(device) for kind in config.ropes]
        self._scales = [table_scale(kind) for kind in config.ropes]
        self._kept: dict[int, tuple[tuple[int | tuple[int, ...], int], tuple[Tensor, Tensor]]] = {}
        nothing = torch.empty(0, 0, device=device)
        self._nothing = (nothing, nothing)

    def tables(
        self, start: int | tuple[int, ...], count: int, rope: int | None = 0
    ) -> tuple[Tensor, Tensor]:
        """Return cos and sin, each (count, dims / 2) float32, of the config's rotary embedding number `rope`.

        The positions run from `start`; with one start per sequence the tables are (batch, 1, count, dims / 2).
        For None (no positions) both have width 0.
        """
        if rope is None:
            return self._nothing
        kept = self._kept.get(rope)
        if kept is None or kept[0] != (start, count):
            speeds, scale = self._speeds[rope], self._scales[rope]
            angles = positions(start, count, speeds.device).float()[..., None] * speeds
            kept = self._kept[rope] = ((start, count), (angles.cos() * scale, angles.sin() * scale))
        return kept[1]


def rope_tables(config: ModelConfig, device: str | torch.device = "cpu") -> Rope:
    """Return the rotary tables of the model on `device`."""
    return Rope(config, device)
