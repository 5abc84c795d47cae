"""How a quantised block lies in memory where a CUDA device computes it: in the kernels' order, in the plan's bytes.

Plain blocks need nothing of this: their matrices follow each other as the kernels want them. A quantised one takes
exactly the bytes of the CPU's layout, so that the plan counts one number for both; a block whose kernel form would
need more (columns that fill no whole chunk) is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError
from ..kernels.cuda.packing import CHUNK_BYTES, PackedMatrix, matrix_at, matrix_bytes, pack
from ..kernels.cuda_module import KernelModule
from ..kernels.launch import dequantise
from .weights import BlockLayout, read_tensor

__all__ = ["KERNEL_FORMATS", "DeviceLayout"]

#: Precision -> weight format of the kernels.
KERNEL_FORMATS = {"int8": "int8", "int4": "int4g32"}
_GROUPS = (("q", "k", "v"), ("gate", "up"))
_FOLLOWERS = ("k_bias", "v_bias")
_PIECE_ELEMENTS = 2 << 20


@dataclass(frozen=True, slots=True)
class DeviceLayout(BlockLayout):
    """A block packed for the kernels; `slots` are those of the CPU's layout, whose bytes it takes.

    q, k, v and gate, up are stacked into one matrix; `dtype` is that of vectors and scales.
    """

    dtype: torch.dtype = torch.bfloat16
    weight_format: str = "int8"
    module: KernelModule | None = None

    @classmethod
    def over(cls, layout: BlockLayout, precision: str, dtype: torch.dtype, module: KernelModule | None) -> DeviceLayout:
        """Return the kernels' form of `layout`.

        Raises
        ------
        ModelError : it would take more bytes than the plan counts.
        """
        found = cls(
            layout.entries, layout.slots, layout.nbytes, part=layout.part,
            dtype=dtype, weight_format=KERNEL_FORMATS[precision], module=module,
        )  # fmt: skip
        if found._end() > layout.nbytes:
            raise ModelError(
                f"In the kernels' {precision} order this block takes {found._end()} bytes, and the plan counts "
                f"{layout.nbytes}: run it through the plain layers."
            )
        return found

    def _places(self) -> list[tuple[tuple[str, ...], int, int]]:
        """Return (names stacked, offset, bytes) of every matrix and vector."""
        places: list[tuple[tuple[str, ...], int, int]] = []
        done: set[str] = set()
        end = 0
        for name in self.slots:
            group = next((g for g in _GROUPS if name in g and g[-1] in self.slots), (name,))
            if name in done:
                continue
            if name not in _FOLLOWERS:
                end = -(-end // CHUNK_BYTES) * CHUNK_BYTES
            nbytes = self._nbytes(group)
            places.append((group, end, nbytes))
            done |= set(group)
            end += nbytes
        return places

    def _nbytes(self, group: tuple[str, ...]) -> int:
        slot = self.slots[group[0]]
        if isinstance(slot.form, str):
            return matrix_bytes(self._rows(group), slot.shape[1], self.weight_format)
        return slot.shape[0] * self.dtype.itemsize

    def _rows(self, group: tuple[str, ...]) -> int:
        return sum(self.slots[name].shape[0] for name in group)

    def _end(self) -> int:
        return max(offset + nbytes for _, offset, nbytes in self._places())

    def views(self, buffer: Tensor) -> dict[str, Any]:
        """Return the block's tensors and kernel matrices as views of `buffer`."""
        found: dict[str, Any] = {}
        for group, offset, nbytes in self._places():
            part, slot = buffer[offset : offset + nbytes], self.slots[group[0]]
            if not isinstance(slot.form, str):
                found[group[0]] = part.view(self.dtype)
                continue
            whole = matrix_at(part, self._rows(group), slot.shape[1], self.weight_format, self.dtype)
            if self.module is not None:
                whole = replace(whole, unpacker=_Unpacker(self.module))
            first = 0
            for name in group:
                found[name] = whole.rows_between(first, first + self.slots[name].shape[0])
                first += self.slots[name].shape[0]
        return found

    def kept_as(self, precision: str) -> str:
        """Return the name under which the packed bytes are kept: another order than the CPU's."""
        kernels = f"kernels.{str(self.dtype).removeprefix('torch.')}"
        return ".".join(filter(None, (precision, kernels, self.part)))

    def make(self, buffer: Tensor) -> None:
        """Read the block from the checkpoint and pack it into `buffer` (uint8, CPU), a few MiB at a time."""
        buffer.zero_()
        for name, view in replace(self, module=None).views(buffer).items():
            if isinstance(view, PackedMatrix):
                _pack_rows(self, name, view)
            else:
                read_tensor(self.entries[name], 0, view)


def _pack_rows(layout: DeviceLayout, name: str, target: PackedMatrix) -> None:
    entry, slot = layout.entries[name], layout.slots[name]
    unit = 1 if entry.codec is None else entry.codec.unit or slot.shape[0]
    step = max(unit, _PIECE_ELEMENTS // target.columns // unit * unit)
    for first in range(0, target.rows, step):
        some = target.rows_between(first, min(target.rows, first + step))
        piece = torch.empty(some.shape, dtype=torch.float32)
        read_tensor(entry, first, piece)
        packed = pack(piece, layout.weight_format, layout.dtype)
        some.weight.copy_(packed.weight)
        if some.scale is not None and packed.scale is not None:
            some.scale.copy_(packed.scale)


@dataclass(frozen=True, slots=True)
class _Unpacker:
    """The dequantise kernel as a function that a matrix carries."""

    module: KernelModule

    def __call__(self, matrix: PackedMatrix, out: Tensor) -> None:
        dequantise(self.module, matrix, out)

