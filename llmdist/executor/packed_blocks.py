"""Brings quantised blocks into memory or onto disk for streaming, making at most one at a time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..model.layout import QUANTISED
from ..model.quantize import PackedStore
from ..model.reader import Reader
from .arrivals import Arrivals
from .weights import BlockLayout, fill

__all__ = ["PackedBlocks"]


class PackedBlocks:
    """The packed files of one checkpoint."""

    def __init__(self, identity: str) -> None:
        self._store = PackedStore(identity)

    @property
    def note(self) -> str:
        """Return in a sentence why blocks were not kept for the next load; empty where they were."""
        return self._store.note

    def located(self, name: str, precision: str, layout: BlockLayout) -> BlockLayout:
        """Return `layout` with its packed file, if the block is quantised (an embedding never is)."""
        quantised = precision in QUANTISED and name != "embed"
        return layout.packed_in(self._store.path(name, layout.kept_as(precision))) if quantised else layout

    def _is_ready(self, name: str, precision: str, layout: BlockLayout) -> bool:
        return layout.packed is None or self._store.has(name, layout.kept_as(precision), layout.slots)

    def fill(self, name: str, precision: str, layout: BlockLayout, buffer: Tensor, reader: Reader) -> bool:
        """Fill `buffer` with the block: from its packed file, or from the checkpoint while the file is made (True)."""
        if self._is_ready(name, precision, layout):
            fill(layout, buffer, reader)
            return False
        layout.make(buffer)
        self._store.keep(name, layout.kept_as(precision), buffer)
        return True

    def missing(self, streamed: Mapping[str, str], layouts: Mapping[str, BlockLayout]) -> dict[str, str]:
        """Return those of `streamed` (name -> precision) whose packed files are still to be made."""
        return {name: kind for name, kind in streamed.items() if not self._is_ready(name, kind, layouts[name])}

    def prepare(self, missing: Mapping[str, str], layouts: Mapping[str, BlockLayout], arrivals: Arrivals) -> None:
        """Make the packed files of `missing` (name -> precision).

        Raises
        ------
        ModelError : the disk refuses; a streamed block has no other home.
        """
        for name, precision in missing.items():
            layout = layouts[name]
            buffer = torch.empty(layout.nbytes, dtype=torch.uint8)
            layout.make(buffer)
            self._store.require(name, layout.kept_as(precision), buffer)
            arrivals.arrived(layout.nbytes, precision)
