"""Parts of an MLP: some of its neurons, which are rows of gate and up and columns of down.

A part is a block of its own: its tensors are described as entries of the same files, so whatever reads, converts or
quantises a block does so with a part. Rows lie together in a file; columns are picked from whole rows by a codec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from .headers import TensorEntry
from .packed import RawTensor, Read

__all__ = ["Columns", "neurons"]

@dataclass(frozen=True, slots=True)
class Columns:
    """Columns [first, last) of a stored matrix."""

    entry: TensorEntry
    first: int
    last: int

    @property
    def unit(self) -> int:
        """Return the least rows that can be read."""
        return 1

    @property
    def nbytes(self) -> int:
        """Return the bytes that are read: whole rows."""
        return self.entry.nbytes

    def fill(self, target: Tensor, first: int, read: Read) -> None:
        """Write the rows from `first` on into `target` (rows, columns)."""
        rows = self.entry.rows(first, len(target))
        whole = RawTensor(rows.path, rows.offset, rows.shape, rows.dtype).read(read)
        target.copy_(whole[:, self.first : self.last])


def neurons(entries: Mapping[str, TensorEntry], first: int, last: int) -> dict[str, TensorEntry]:
    """Return the entries of neurons [first, last) of an MLP with the tensors gate, up, down and vectors.

    ModelError where the file holds the matrices quantised.
    """
    found = dict(entries)
    for name in ("gate", "up"):
        found[name] = entries[name].rows(first, last - first)
    down = entries["down"]
    down.rows(0, 1)  # says what cannot be taken apart
    found["down"] = replace(down, shape=(down.shape[0], last - first), codec=Columns(down, first, last))
    return found
