"""Weights in the order in which the kernels load them, and the plain way back.

A row is a run of chunks of 64 bytes, padded with zero weights. The rounding is the plainest there is (symmetric, the
largest weight of a row or group decides the scale); scales are kept in the activations' type, and weights are rounded
against the scale as it was stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor

from ...errors import LlmdistError

__all__ = [
    "CHUNK_BYTES", "CHUNK_COLUMNS", "PackedMatrix", "group_size", "joined", "matrix_at", "matrix_bytes", "pack",
    "packed_bytes", "stacked", "unpack",
]  # fmt: skip

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
    #: Writes a packed matrix as plain numbers into a tensor: a kernel where there is one, else `unpack` does.
    unpacker: Callable[[PackedMatrix, Tensor], None] | None = field(default=None, compare=False, repr=False)

    @property
    def chunks(self) -> int:
        """Return the 64-byte chunks per row."""
        return self.weight.shape[1] // CHUNK_BYTES

    @property
    def nbytes(self) -> int:
        """Return the bytes of weights and scales."""
        return self.weight.nbytes + (0 if self.scale is None else self.scale.nbytes)

    @property
    def shape(self) -> tuple[int, int]:
        """Return (rows, columns)."""
        return self.rows, self.columns

    def rows_between(self, first: int, last: int) -> PackedMatrix:
        """Return rows [first, last) as a view."""
        scale = None if self.scale is None else self.scale[first:last]
        return replace(self, weight=self.weight[first:last], scale=scale, rows=last - first)

    def dequantise(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the weights (rows, columns) that the bytes stand for; dense ones must be of `dtype`."""
        if self.unpacker is None:
            return unpack(self, dtype).to(dtype)
        out = torch.empty(self.shape, dtype=dtype, device=self.weight.device)
        self.unpacker(self, out)
        return out

    def to(self, device: str | torch.device) -> PackedMatrix:
        """Return the matrix on another device."""
        scale = None if self.scale is None else self.scale.to(device)
        return PackedMatrix(self.weight_format, self.weight.to(device), scale, self.rows, self.columns)


def packed_bytes(rows: int, columns: int, weight_format: str) -> int:
    """Return the bytes that `pack` makes of a matrix, scales included."""
    row, scales = _stored(columns, weight_format)
    return rows * (row + 2 * scales)


def _stored(columns: int, weight_format: str) -> tuple[int, int]:
    """Return (bytes of weights, scales) of one row."""
    chunks, group = -(-columns // CHUNK_COLUMNS[weight_format]), group_size(weight_format)
    scales = chunks * CHUNK_COLUMNS[weight_format] // group if group else int(weight_format == "int8")
    return chunks * CHUNK_BYTES, scales


def matrix_bytes(rows: int, columns: int, weight_format: str) -> int:
    """Return the bytes that `matrix_at` takes of a buffer: weights, then scales from a multiple of 64 on."""
    row, scales = _stored(columns, weight_format)
    return rows * row + -(-rows * scales * 2 // CHUNK_BYTES) * CHUNK_BYTES


def matrix_at(buffer: Tensor, rows: int, columns: int, weight_format: str, dtype: torch.dtype) -> PackedMatrix:
    """Return the matrix that lies at the start of `buffer` (uint8), as views; scales are of `dtype`."""
    row, scales = _stored(columns, weight_format)
    weight, scale = buffer[: rows * row].view(rows, row), None
    if scales:
        scale = buffer[rows * row : rows * (row + 2 * scales)].view(dtype).view(rows, scales)
    return PackedMatrix(weight_format, weight, scale, rows, columns)


def joined(parts: list[Tensor]) -> Tensor | None:
    """Return tensors (rows, n) that follow each other in memory as one view; None where they do not."""
    for part, after in pairwise(parts):
        if part.data_ptr() + part.nbytes != after.data_ptr() or part.dtype != after.dtype:
            return None
    first = parts[0]
    if not all(part.is_contiguous() for part in parts):
        return None
    size = (sum(len(part) for part in parts), *first.shape[1:])
    return first.as_strided(size, first.stride(), first.storage_offset())


def stacked(parts: list[Tensor | PackedMatrix]) -> PackedMatrix | None:
    """Return matrices that lie one after the other as one, without a copy; None where that cannot be.

    Plain tensors (rows, columns) count as dense: their columns must fill whole chunks, from an aligned address on.
    """
    matrices = [_as_matrix(part) for part in parts]
    whole = [matrix for matrix in matrices if matrix is not None]
    if len(whole) < len(parts) or any(m.weight_format != whole[0].weight_format for m in whole):
        return None
    weight = joined([m.weight for m in whole])
    scales = [m.scale for m in whole if m.scale is not None]
    scale = joined(scales) if scales else None
    if weight is None or weight.data_ptr() % 16 or (scales and scale is None):
        return None
    return replace(whole[0], weight=weight, scale=scale, rows=len(weight))


def _as_matrix(part: Tensor | PackedMatrix) -> PackedMatrix | None:
    if isinstance(part, PackedMatrix):
        return part
    rows, columns = part.shape
    if columns % CHUNK_COLUMNS["dense"] or part.itemsize != 2 or not part.is_contiguous():
        return None
    return PackedMatrix("dense", part.view(torch.uint8), None, rows, columns)


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
