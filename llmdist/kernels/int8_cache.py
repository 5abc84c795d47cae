"""Keys or values in 8 bits: what the int8 KV cache stores, and what its bytes mean.

Each token of each kv head has one scale, its largest magnitude / 127 in bfloat16, and head_dim signed bytes. The
compiled kernels read and write the same bytes; torch unpacks one head at a time, so no plain copy of the cache is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Int8Cache", "quantise_rows"]

_SMALLEST = 1e-30  # a scale below has no finite inverse worth having


def quantise_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return `rows` (..., head_dim) as int8 of the same shape, and the bfloat16 scales (...)."""
    wide = rows.float()
    scales = (wide.abs().amax(-1) / 127).bfloat16()
    rounded = scales.float()
    inverse = torch.where(rounded > _SMALLEST, rounded.reciprocal(), 0.0)
    return torch.round(wide * inverse[..., None]).to(torch.int8), scales


@dataclass(frozen=True, slots=True, eq=False)
class Int8Cache:
    """`values` (batch, kv_heads, context, head_dim) int8 and `scales` (batch, kv_heads, context) bfloat16."""

    values: Tensor
    scales: Tensor

    @classmethod
    def empty(cls, shape: tuple[int, int, int, int], device: str) -> Int8Cache:
        """Return a cache of zeros for `shape` (batch, kv_heads, context, head_dim)."""
        values = torch.zeros(shape, dtype=torch.int8, device=device)
        return cls(values, torch.zeros(shape[:3], dtype=torch.bfloat16, device=device))

    def __getitem__(self, rows: slice) -> Int8Cache:
        """Return the sequences `rows` as a view."""
        return Int8Cache(self.values[rows], self.scales[rows])

    @property
    def shape(self) -> torch.Size:
        """Return (batch, kv_heads, context, head_dim)."""
        return self.values.shape

    @property
    def nbytes(self) -> int:
        """Return the bytes of values and scales."""
        return self.values.nbytes + self.scales.nbytes

    def to(self, device: str) -> Int8Cache:
        """Return the same on `device`."""
        return Int8Cache(self.values.to(device), self.scales.to(device))

    def plain(self, head: int, first: int, end: int, dtype: torch.dtype) -> Tensor:
        """Return positions [first, end) of one kv head as numbers: (batch, 1, end - first, head_dim)."""
        part = self.values[:, head : head + 1, first:end].to(dtype)
        return part.mul_(self.scales[:, head : head + 1, first:end, None])
