"""Tensors that a file holds in another form than plain numbers: how a few rows of them become numbers.

A codec belongs to one stored tensor. It reads only the bytes that it needs and writes numbers where they are wanted,
a few at a time, so a quantised checkpoint is never held twice. This is the slow path: correct, and unpacked anew each
time a streamed block is brought.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .gguf_types import FORMATS

__all__ = ["AwqRows", "Codec", "GgufRows", "GptqRows", "RawTensor", "Read"]

_NUMBERS = 1 << 20  # of a matrix, unpacked together
#: (path, offset, bytes) -> those bytes of the file, uint8.
Read = Callable[[Path, int, int], "np.ndarray[tuple[int], np.dtype[np.uint8]]"]


class Codec(Protocol):
    """`unit` rows (0: all of them) are the least that can be unpacked; `nbytes` is what the file holds."""

    @property
    def unit(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def fill(self, target: Tensor, first: int, read: Read) -> None:
        """Write the rows from `first` on into `target` (rows, columns); both counts are multiples of `unit`."""


@dataclass(frozen=True, slots=True)
class RawTensor:
    """Where the bytes of one stored tensor lie."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Return the bytes in the file."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def read(self, read: Read) -> Tensor:
        """Return the tensor."""
        return torch.from_numpy(read(self.path, self.offset, self.nbytes)).view(self.dtype).view(self.shape)


@dataclass(frozen=True, slots=True)
class GgufRows:
    """Rows of a GGUF tensor of type `format` (``Q4_K``, ...).

    `head_rows` is above 0 for the q and k of Llama, whose rows GGUF interleaves within each head of so many rows:
    row 2i of a head there is row i of the first half here, row 2i + 1 is row i of the second.
    """

    path: Path
    offset: int
    shape: tuple[int, int]
    format: str
    head_rows: int = 0

    @property
    def unit(self) -> int:
        return self.head_rows or 1

    @property
    def row_bytes(self) -> int:
        """Return the bytes of one row."""
        packed = FORMATS[self.format]
        return self.shape[1] // packed.values * packed.nbytes

    @property
    def nbytes(self) -> int:
        return self.shape[0] * self.row_bytes

    def fill(self, target: Tensor, first: int, read: Read) -> None:
        packed, shape = FORMATS[self.format], target.shape
        raw = torch.from_numpy(read(self.path, self.offset + first * self.row_bytes, shape[0] * self.row_bytes))
        values = packed.unpack(raw.view(-1, packed.nbytes)).view(shape)
        if self.head_rows:
            values = values.view(-1, self.head_rows // 2, 2, shape[1]).transpose(1, 2).reshape(shape)
        target.copy_(values)


@dataclass(frozen=True, slots=True)
class GptqRows:
    """A matrix by GPTQ, 4 bits: eight values along the input in one int32, zeros eight along the output.

    ``weight[o, i] = scales[g, o] * (q[i, o] - zeros[g, o] - offset)`` with ``g = groups[i]``; the offset is 1 in the
    format's first version (the packers stored zeros one too small), 0 in the second.
    """

    packed: RawTensor  # (inputs / 8, outputs) int32
    zeros: RawTensor  # (groups, outputs / 8) int32
    scales: RawTensor  # (groups, outputs) float16
    groups: RawTensor | None  # (inputs,) int32; None: consecutive groups
    zero_offset: int = 1

    unit = 0

    @property
    def nbytes(self) -> int:
        parts = (self.packed, self.zeros, self.scales, self.groups)
        return sum(part.nbytes for part in parts if part is not None)

    def fill(self, target: Tensor, first: int, read: Read) -> None:
        packed, scales = self.packed.read(read), self.scales.read(read)
        zeros = _nibbles(self.zeros.read(read), range(8)) + self.zero_offset
        inputs = packed.shape[0] * 8
        if self.groups is not None:
            group = self.groups.read(read).long()
        else:
            group = torch.arange(inputs) // (inputs // scales.shape[0])
        for some in _outputs(target):
            values = _nibbles(packed[:, some].t().contiguous(), range(8))  # (outputs, inputs)
            target[some] = scales[:, some].t().float()[:, group] * (values - zeros[:, some].t()[:, group])


@dataclass(frozen=True, slots=True)
class AwqRows:
    """A matrix by AWQ, 4 bits: eight values along the output in one int32, in the order 0 2 4 6 1 3 5 7.

    ``weight[o, i] = scales[g, o] * (q[i, o] - zeros[g, o])`` with consecutive groups of inputs.
    """

    packed: RawTensor  # (inputs, outputs / 8) int32
    zeros: RawTensor  # (groups, outputs / 8) int32
    scales: RawTensor  # (groups, outputs) float16

    unit = 0

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes + self.zeros.nbytes + self.scales.nbytes

    def fill(self, target: Tensor, first: int, read: Read) -> None:
        order = (0, 4, 1, 5, 2, 6, 3, 7)  # where values 0 .. 7 lie in the word
        packed, zeros, scales = (part.read(read) for part in (self.packed, self.zeros, self.scales))
        size = packed.shape[0] // scales.shape[0]
        for some in _outputs(target):
            words = slice(some.start // 8, some.stop // 8)
            values, least = _nibbles(packed[:, words], order), _nibbles(zeros[:, words], order)
            wide, least = (t.repeat_interleave(size, dim=0) for t in (scales[:, some].float(), least))
            target[some] = (wide * (values - least)).t()


def _outputs(target: Tensor) -> list[slice]:
    """Return slices of the rows of `target`, multiples of 8, of which each makes about a million numbers."""
    rows, columns = target.shape
    step = max(1, _NUMBERS // (8 * columns)) * 8
    return [slice(first, min(first + step, rows)) for first in range(0, rows, step)]


def _nibbles(words: Tensor, order: range | tuple[int, ...]) -> Tensor:
    """Return the eight 4-bit values of each int32 along the last axis, which grows by 8; int32."""
    shifts = torch.tensor([4 * place for place in order], dtype=torch.int32)
    return ((words[..., None] >> shifts) & 15).flatten(-2)
