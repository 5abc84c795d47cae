"""The storage types of GGUF: blocks of a few bytes that hold 32 or 256 values with their scales.

The layouts are those of the GGML library's block structures. A K type (256 values) has scales of its scales.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["FORMATS", "Format"]


@dataclass(frozen=True, slots=True)
class Format:
    """`values` numbers lie in `nbytes` bytes; `unpack` turns uint8 (blocks, nbytes) into float32 (blocks, values)."""

    values: int
    nbytes: int
    unpack: Callable[[Tensor], Tensor]


def _half(raw: Tensor) -> Tensor:
    return raw.contiguous().view(torch.float16).float()


def _q8_0(raw: Tensor) -> Tensor:
    """Scale (fp16), then 32 int8."""
    return _half(raw[:, :2]) * raw[:, 2:].view(torch.int8)


def _q4_0(raw: Tensor) -> Tensor:
    """Scale (fp16), then 16 bytes: the low nibbles are values 0-15, the high ones 16-31, all 8 too large."""
    values = torch.cat((raw[:, 2:] & 15, raw[:, 2:] >> 4), dim=1)
    return _half(raw[:, :2]) * (values.float() - 8)


def _q4_k(raw: Tensor) -> Tensor:
    """Scale and scale of minima (fp16), 8 scales and 8 minima of 6 bits in 12 bytes, then 128 bytes of nibbles.

    Each 32 bytes hold two groups of 32: the low nibbles, then the high ones.
    """
    low, high, mixed = raw[:, 4:8], raw[:, 8:12], raw[:, 12:16]
    scales = torch.cat((low & 63, (mixed & 15) | ((low >> 6) << 4)), dim=1)
    minima = torch.cat((high & 63, (mixed >> 4) | ((high >> 6) << 4)), dim=1)
    nibbles = raw[:, 16:].view(-1, 4, 1, 32)
    values = torch.cat((nibbles & 15, nibbles >> 4), dim=2).view(-1, 8, 32)
    scale, least = _half(raw[:, :2]) * scales, _half(raw[:, 2:4]) * minima
    return (scale[..., None] * values - least[..., None]).view(-1, 256)


def _q6_k(raw: Tensor) -> Tensor:
    """128 bytes of low nibbles, 64 of upper bit pairs, 16 int8 scales, then their scale (fp16); values 32 too large.

    Each half of 128 values has 64 bytes of nibbles and 32 of bit pairs, whose pair number says which quarter.
    """
    low = raw[:, :128].view(-1, 2, 2, 32)
    upper = raw[:, 128:192].view(-1, 2, 1, 32)
    nibbles = torch.cat((low & 15, low >> 4), dim=2)  # (blocks, half, quarter, 32)
    pairs = torch.cat([(upper >> shift) & 3 for shift in (0, 2, 4, 6)], dim=2)
    values = (nibbles | (pairs << 4)).view(-1, 16, 16).float() - 32
    scales = _half(raw[:, 208:]) * raw[:, 192:208].view(torch.int8)
    return (scales[..., None] * values).view(-1, 256)


FORMATS = {
    "F32": Format(1, 4, lambda raw: raw.view(torch.float32)),
    "F16": Format(1, 2, lambda raw: raw.view(torch.float16).float()),
    "BF16": Format(1, 2, lambda raw: raw.view(torch.bfloat16).float()),
    "Q8_0": Format(32, 34, _q8_0),
    "Q4_0": Format(32, 18, _q4_0),
    "Q4_K": Format(256, 144, _q4_k),
    "Q6_K": Format(256, 210, _q6_k),
}
