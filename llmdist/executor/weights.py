"""One block's weights in one contiguous buffer, filled from the file without a second copy.

Files are read, never mapped, so what is held in memory is what was allocated. A tensor whose stored type differs
from the wanted one is converted piece by piece.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError
from ..kernels.cpu import Weight
from ..model.checkpoint import TensorEntry
from ..model.layout import TORCH_DTYPES, TensorSlot, block_bytes, block_slots, slot_view
from ..model.packed import Codec
from ..model.quantize import quantise_block
from ..model.reader import Part, Reader

__all__ = ["TORCH_DTYPES", "BlockLayout", "fill", "read_rows", "read_tensor"]

_BOUNCE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """Where each tensor of a block lies in its buffer.

    `packed` is the file that holds the buffer's bytes from `packed_offset` on, if quantised. `part` names the part of
    the block that this is, if not all of it.
    """

    entries: Mapping[str, TensorEntry]
    slots: Mapping[str, TensorSlot]
    nbytes: int
    packed: Path | None = None
    packed_offset: int = 0
    part: str = ""

    @classmethod
    def of(cls, entries: Mapping[str, TensorEntry], form: torch.dtype | str) -> BlockLayout:
        """Return the layout of `entries` at `form`, a torch type or a precision."""
        slots = block_slots({name: entry.shape for name, entry in entries.items()}, form)
        return cls(dict(entries), slots, block_bytes(slots))

    def packed_in(self, file: Path) -> BlockLayout:
        """Return the same layout, filled from `file`."""
        return replace(self, packed=file)

    def expert(self, number: int) -> tuple[BlockLayout, int]:
        """Return the layout of one expert of a group in a buffer of its own, and where it starts in the group's."""
        names = [name for name in self.slots if name.endswith(f".{number}")]
        start = min(self.slots[name].offset for name in names)
        slots = {name: replace(self.slots[name], offset=self.slots[name].offset - start) for name in names}
        entries = {name: self.entries[name] for name in names}
        nbytes = min(block_bytes(slots), self.nbytes - start)
        return BlockLayout(entries, slots, nbytes, self.packed, self.packed_offset + start), start

    def kept_as(self, precision: str) -> str:
        """Return the name under which the packed bytes are kept."""
        return ".".join(filter(None, (precision, self.part)))

    def make(self, buffer: Tensor) -> None:
        """Read the tensors from the checkpoint and leave them quantised in `buffer` (uint8, CPU)."""
        quantise_block(self.entries, self.slots, buffer, read_tensor)

    @property
    def file_bytes(self) -> int:
        """Return the bytes that are read to fill the buffer."""
        return sum(entry.nbytes for entry in self.entries.values()) if self.packed is None else self.nbytes

    @property
    def plain(self) -> bool:
        """Whether `parts` are the whole of it."""
        return self.packed is not None or all(entry.codec is None for entry in self.entries.values())

    def parts(self, buffer: Tensor) -> list[Part]:
        """Return what a reader must bring into `buffer`; tensors that a codec unpacks are left to `fill`."""
        if self.packed is not None:
            return [Part(self.packed, self.packed_offset, torch.uint8, buffer[: self.nbytes])]
        return [
            Part(entry.path, entry.offset, entry.dtype, view.view(-1))
            for entry, view in ((self.entries[name], view) for name, view in self.views(buffer).items())
            if entry.codec is None and isinstance(view, Tensor)
        ]

    def views(self, buffer: Tensor) -> dict[str, Weight]:
        """Return the tensors as views of `buffer` (uint8, at least `nbytes`)."""
        return {name: slot_view(slot, buffer) for name, slot in self.slots.items()}


def _bytes_of(tensor: Tensor) -> memoryview:
    """Return the memory of a contiguous CPU tensor, writable."""
    array: Any = tensor.view(-1).view(torch.uint8).numpy()
    return memoryview(array)


def _read_exactly(path: Path, offset: int, target: memoryview) -> None:
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            done = 0
            while done < len(target):
                count = file.readinto(target[done:])
                if not count:
                    raise ModelError(
                        f"Reading {len(target)} bytes at {offset} of {path} gave only {done}: the file was "
                        "cut short or replaced since it was opened; restore it and generate again."
                    )
                done += count
    except OSError as error:
        raise ModelError(
            f"The weights in {path} can no longer be read ({error.strerror}); "
            "restore the file and generate again."
        ) from error


def fill(layout: BlockLayout, buffer: Tensor, reader: Reader | None = None) -> int:
    """Read a block's weights into `buffer` (uint8, CPU) and return the bytes read from the file.

    Without a `reader` the reads are plain, one after the other, through the page cache.
    """
    plain = reader.submit(layout.parts(buffer)) if reader is not None else None
    if layout.packed is not None:
        if plain is None:
            _read_exactly(layout.packed, layout.packed_offset, _bytes_of(buffer[: layout.nbytes]))
        else:
            plain.wait()
        return layout.nbytes
    for name, view in layout.views(buffer).items():
        assert isinstance(view, Tensor), f"{name} is quantised and has no file"
        if plain is None or layout.entries[name].codec is not None:
            read_tensor(layout.entries[name], 0, view)
    if plain is not None:
        plain.wait()
    return layout.file_bytes


def read_tensor(entry: TensorEntry, first: int, target: Tensor) -> None:
    """Read the rows of a stored tensor from `first` on into `target`, of any plain type."""
    if entry.codec is not None:
        _unpack(entry.codec, first, target)
        return
    offset = entry.offset + first * math.prod(entry.shape[1:]) * entry.dtype.itemsize
    if entry.dtype == target.dtype:
        _read_exactly(entry.path, offset, _bytes_of(target))
    else:
        _convert(entry, offset, target)


def _unpack(codec: Codec, start: int, view: Tensor) -> None:
    """Fill `view` from a packed tensor's rows from `start` on, as many at a time as make 4 MiB of numbers."""
    rows, columns = view.shape
    unit = codec.unit or rows
    step = max(1, _BOUNCE_BYTES // (4 * columns * unit)) * unit
    for first in range(0, rows, step):
        count = min(step, rows - first)
        codec.fill(view[first : first + count], start + first, _read_bytes)


def _read_bytes(path: Path, offset: int, nbytes: int) -> np.ndarray[Any, Any]:
    raw = torch.empty(nbytes, dtype=torch.uint8)
    _read_exactly(path, offset, _bytes_of(raw))
    return raw.numpy()


def _convert(entry: TensorEntry, offset: int, view: Tensor) -> None:
    flat, size = view.view(-1), entry.dtype.itemsize
    step = _BOUNCE_BYTES // size
    bounce = torch.empty(min(step, flat.numel()), dtype=entry.dtype)
    for start in range(0, flat.numel(), step):
        part = bounce[: min(step, flat.numel() - start)]
        _read_exactly(entry.path, offset + start * size, _bytes_of(part))
        flat[start : start + part.numel()].copy_(part)


def read_rows(entry: TensorEntry, rows: Tensor, dtype: torch.dtype, reader: Reader) -> Tensor:
    """Return `entry[rows]` with shape (*rows.shape, columns) at `dtype`, reading only those rows."""
    if entry.codec is not None:
        return _unpack_rows(entry.codec, rows, entry.shape[1], dtype)
    columns = entry.shape[1]
    nbytes = columns * entry.dtype.itemsize
    unique, inverse = torch.unique(rows, return_inverse=True)
    table = torch.empty(len(unique), columns, dtype=dtype)
    wanted = enumerate(unique.tolist())
    reader.read([Part(entry.path, entry.offset + row * nbytes, entry.dtype, table[i]) for i, row in wanted])
    return table[inverse]


def _unpack_rows(codec: Codec, rows: Tensor, columns: int, dtype: torch.dtype) -> Tensor:
    unique, inverse = torch.unique(rows, return_inverse=True)
    table = torch.empty(len(unique), columns, dtype=dtype)
    for i, row in enumerate(unique.tolist()):
        codec.fill(table[i : i + 1], row, _read_bytes)
    return table[inverse]
