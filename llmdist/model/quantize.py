"""Makes int8 and int4 blocks from a checkpoint, piece by piece, and keeps them on disk for the next load.

A block is made in its own buffer from a few MiB of weights at a time, so the model is never held twice. On disk it is
one file: the bytes of the buffer, then a seal. A file appears under its name only when it is whole, and its folder
is named after the checkpoint's identity, so neither a crash, a full disk nor a changed model can serve wrong weights.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError
from ..kernels.cpu import pack_quickly
from ..kernels.packing import PANEL, PackedMatrix
from ..paths import cache_folder
from ..units import format_bytes
from .headers import TensorEntry
from .layout import TensorSlot, block_bytes, slot_view

__all__ = ["PackedStore", "ReadRows", "quantise_block"]

_FORMAT = "llmdist packed 2"  # changes with the layout of the bytes
_PIECE_ELEMENTS = 2 << 20  # float32 weights that are in the air: 8 MiB


#: (stored tensor, first row, target): reads rows of the tensor into `target`, of any plain type.
ReadRows = Callable[[TensorEntry, int, Tensor], object]


def quantise_block(
    entries: Mapping[str, TensorEntry], slots: Mapping[str, TensorSlot], buffer: Tensor, read: ReadRows
) -> None:
    """Read a block's tensors and leave them in `buffer` (uint8, CPU), matrices packed as their slots say."""
    buffer.zero_()  # the gaps between tensors are part of the file
    for name, slot in slots.items():
        view = slot_view(slot, buffer)
        if isinstance(view, PackedMatrix):
            _pack_rows(entries[name], view, read)
        else:
            read(entries[name], 0, view)


def _pack_rows(entry: TensorEntry, packed: PackedMatrix, read: ReadRows) -> None:
    unit = PANEL if entry.codec is None else math.lcm(PANEL, entry.codec.unit or -(-packed.rows // PANEL) * PANEL)
    step = max(unit, _PIECE_ELEMENTS // packed.columns // unit * unit)
    piece = torch.empty(min(step, packed.rows), packed.columns, dtype=torch.float32)
    for first in range(0, packed.rows, step):
        target = packed.rows_between(first, min(packed.rows, first + step))
        rows = piece[: target.rows]
        read(entry, first, rows)
        pack_quickly(rows, packed.precision, packed.group, target.data)


class PackedStore:
    """The packed blocks of one checkpoint, in the user's cache folder."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.folder = cache_folder() / "packed" / identity
        self.note = ""

    def path(self, block: str, precision: str) -> Path:
        """Return the file of a block; it may not be there yet."""
        return self.folder / f"{block}.{precision}"

    def _seal(self, block: str, precision: str, nbytes: int) -> bytes:
        text = f"{_FORMAT}\n{self.identity}\n{block}\n{precision}\n{nbytes}"
        return hashlib.sha256(text.encode()).hexdigest().encode()

    def has(self, block: str, precision: str, slots: Mapping[str, TensorSlot]) -> bool:
        """Whether the block's file is there and whole."""
        path, nbytes = self.path(block, precision), block_bytes(slots)
        seal = self._seal(block, precision, nbytes)
        try:
            with path.open("rb") as file:
                file.seek(nbytes)
                return file.read() == seal
        except OSError:
            return False

    def write(self, block: str, precision: str, buffer: Tensor) -> None:
        """Write the bytes of `buffer` as the block's file, in one step; OSError when the disk refuses."""
        path = self.path(block, precision)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=f"{block}.", suffix=".draft", dir=path.parent)
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:
                array: Any = buffer.numpy()
                rest = memoryview(array)
                while rest:
                    rest = rest[file.write(rest) :]
                file.write(self._seal(block, precision, buffer.numel()))
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            raise

    def keep(self, block: str, precision: str, buffer: Tensor) -> None:
        """Write a block for the next load; a disk that refuses leaves a `note` and is not asked again."""
        if self.note:
            return
        try:
            self.write(block, precision, buffer)
        except OSError as error:
            self.note = (
                f"The quantised weights could not be kept in {self.folder} ({error.strerror}): this run goes on "
                "without them, the next load makes them again; free some space or set LLMDIST_CACHE to another disk."
            )

    def require(self, block: str, precision: str, buffer: Tensor) -> None:
        """Write a block that is going to be streamed from its file.

        Raises
        ------
        ModelError : the disk refuses; a streamed block has no other home.
        """
        try:
            self.write(block, precision, buffer)
        except OSError as error:
            raise ModelError(
                f"Block {block} in {precision} takes {format_bytes(buffer.numel())} in {self.folder}, and the disk "
                f"refused ({error.strerror}): free some space, set LLMDIST_CACHE to another disk, or plan with "
                "more memory."
            ) from error
