"""Weights in the order in which the kernels load them, and the plain way back.

A row is a run of chunks of 64 bytes, padded with zero weights. The rounding is the plainest there is (symmetric, the
largest weight of a row or group decides the scale); scales are kept in the activations' type, and weights are rounded
against the scale as it was stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import LlmdistError

__all__ = ["CHUNK_BYTES", "CHUNK_COLUMNS", "PackedMatrix", "group_size", "pack", "packed_bytes", "unpack"]

CHUNK_BYTES = 64
#: Weights of one row that 64 bytes hold.
CHUNK_COLUMNS = {"dense": 32, "int8": 64, "int4g128": 128, "int4g64": 128, "int4g32": 128}
_LARGEST = {"int8": 127, "int4": 7}


def group_size(weight_format: str) -> int:
    """Return the columns that share a scale; 0 where a row has one scale or none."""
    return int(weight_format[5:]) if weight_format.startswith("int4g") else 0


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """`weight` (rows, chunks * 64) uint8; `scale` (rows, groups), (rows, 1) or None, in the activations' type."""

    weight_format: str
    weight: Tensor
    scale: Tensor | None
    rows: int
    columns: int

    @property
    def chunks(self) -> int:
        """Return the 64-byte chunks per row."""
        return self.weight.shape[1] // CHUNK_BYTES

    @property
    def nbytes(self) -> int:
        """Return the bytes of weights and scales."""
        return self.weight.nbytes + (0 if self.scale is None else self.scale.nbytes)

    def to(self, device: str | torch.device) -> PackedMatrix:
        """Return the matrix on another device."""
        scale = None if self.scale is None else self.scale.to(device)
        return PackedMatrix(self.weight_format, self.weight.to(device), scale, self.rows, self.columns)


def packed_bytes(rows: int, columns: int, weight_format: str) -> int:
    """Return the bytes that `pack` makes of a matrix, scales included."""
    chunks = -(-columns // CHUNK_COLUMNS[weight_format])
    group = group_size(weight_format)
    scales = chunks * CHUNK_COLUMNS[weight_format] // group if group else int(weight_format == "int8")
    return rows * (chunks * CHUNK_BYTES + 2 * scales)


def pack(weight: Tensor, weight_format: str, dtype: torch.dtype) -> PackedMatrix:
    """Return `weight` (rows, columns) packed for activations of `dtype` (bfloat16 or float16)."""
    if weight_format not in CHUNK_COLUMNS:
        raise LlmdistError(f"There is no weight format {weight_format!r}; there are {', '.join(CHUNK_COLUMNS)}.")
    rows, columns = weight.shape
    size = CHUNK_COLUMNS[weight_format]
    padded = torch.nn.functional.pad(weight, (0, -columns % size))
    if weight_format == "dense":
        raw = padded.to(dtype).contiguous().view(torch.uint8).view(rows, -1)
        return PackedMatrix(weight_format, raw, None, rows, columns)
    largest = _LARGEST[weight_format[:4]]
    grouped = padded.float().view(rows, -1, group_size(weight_format) or padded.shape[1])
    scale = (grouped.abs().amax(-1, keepdim=True) / largest).to(dtype)
    steps = torch.where(scale > 0, grouped / scale.float(), 0.0).round().clamp(-largest, largest)
    offset = steps.to(torch.int16).view(rows, -1) + (largest + 1)
    raw = offset.to(torch.uint8) if weight_format == "int8" else _interleave(offset)
    return PackedMatrix(weight_format, raw.contiguous(), scale.squeeze(-1).contiguous(), rows, columns)


def _interleave(nibbles: Tensor) -> Tensor:
    """Return (rows, columns / 2) uint8: word (lane q, pair p) of a chunk holds columns 32 p + 8 q .. + 8."""
    rows = nibbles.shape[0]
    words = nibbles.view(rows, -1, 4, 4, 4, 2).transpose(2, 3)  # chunk, q, p, pair of neighbours, neighbour
    low, high = words[..., 0], words[..., 1]  # nibbles 0 .. 3 and 4 .. 7 of each word
    order = torch.cat((low, high), dim=-1)
    return (order[..., 0::2] | order[..., 1::2] << 4).to(torch.uint8).reshape(rows, -1)


def _deinterleave(raw: Tensor) -> Tensor:
    rows = raw.shape[0]
    pairs = raw.view(rows, -1, 4, 4, 4).to(torch.int16)
    order = torch.stack((pairs & 15, pairs >> 4), dim=-1).flatten(-2)
    words = torch.stack((order[..., :4], order[..., 4:]), dim=-1)
    return words.transpose(2, 3).reshape(rows, -1)


def unpack(matrix: PackedMatrix, dtype: torch.dtype) -> Tensor:
    """Return the weights (rows, columns) that the packed ones stand for, float32."""
    raw = matrix.weight
    if matrix.weight_format == "dense":
        return raw.view(dtype)[:, : matrix.columns].float()
    assert matrix.scale is not None, "integer weights have scales"
    integers = raw.to(torch.int16) if matrix.weight_format == "int8" else _deinterleave(raw)
    steps = integers.float() - (_LARGEST[matrix.weight_format[:4]] + 1)
    groups = matrix.scale.shape[1]
    wide = steps.view(matrix.rows, groups, -1) * matrix.scale.float()[..., None]
    return wide.view(matrix.rows, -1)[:, : matrix.columns]
