"""What adds up over blocks, for many placements at once: memory, penalties, busy seconds of shared resources.

Equal blocks form a class, so a placement is first a count per (class, option); every sum is one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

__all__ = ["Additive", "Totals"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of many placements, [ant, ...]; `slotted` and `executing` count blocks per exec device."""

    memory: Floats  # [ant, device] weights and KV, no slots, no workspace
    pinned: Floats  # [ant, device] bytes to be copied to a GPU
    penalty: Floats
    executing: Floats
    slotted: Floats
    decode: Floats  # seconds of the chain without transfers
    prefill: Floats
    decode_busy: Floats  # [ant, resource]
    prefill_busy: Floats
    largest: Floats  # [ant, exec]: the largest staged block

    def some(self, rows: NDArray[np.int64]) -> Totals:
        """Return the sums of some placements."""
        return Totals(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Additive:
    """`matrix` is [class x option, column]; `codes[block]` is the row of the block's option 0.

    `widths` are the numbers of columns of the fields of `Totals`, in order; `slot` is [exec, class x option].
    """

    codes: NDArray[np.int64]
    matrix: Floats
    widths: tuple[int, ...]
    slot: Floats

    def counts(self, choices: NDArray[np.int64]) -> Floats:
        """Return how many blocks take each option of each class, [ant, class x option]."""
        rows = len(self.matrix)
        flat = choices + self.codes + (np.arange(len(choices)) * rows)[:, None]
        return np.bincount(flat.ravel(), minlength=len(choices) * rows).reshape(-1, rows).astype(np.float64)

    def totals(self, choices: NDArray[np.int64]) -> Totals:
        """Return the sums of every row of option indices [ant, block]."""
        return self.of_counts(self.counts(choices))

    def of_counts(self, counts: Floats) -> Totals:
        """Return the sums of counts [ant, class x option]."""
        used = np.flatnonzero(counts.any(0))  # few of many options occur
        counts = counts[:, used]
        parts = np.split(counts @ self.matrix[used], np.cumsum(self.widths)[:-1], axis=1)
        largest = np.zeros((len(counts), len(self.slot)))
        for device, every in enumerate(self.slot):
            sizes = every[used]
            staged = np.flatnonzero(sizes)
            if len(staged):
                largest[:, device] = np.where(counts[:, staged] > 0, sizes[staged], 0.0).max(1)
        memory, pinned, penalty, executing, slotted, decode, prefill, decode_busy, prefill_busy = parts
        return Totals(memory, pinned, penalty[:, 0], executing, slotted, decode[:, 0], prefill[:, 0],
                      decode_busy, prefill_busy, largest)  # fmt: skip
