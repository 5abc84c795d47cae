"""The event graph of many placements at once: copies, slots and computes, run token by token in numpy.

Only streamed blocks are events; what lies between two of them is one sum. Ants are sorted by their number
of streamed blocks, so that each numpy call works on a full prefix and never on padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .reference import MAXIMUM_TOKENS, TOLERANCE

if TYPE_CHECKING:
    from ..planner.tables import Floats

__all__ = ["Chain", "first_ends", "periods"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chain:
    """One kind of pass for many ants: [ant, block] arrays; `seconds` includes the activation's way to the block."""

    compute: Floats
    seconds: Floats
    copy: Floats
    streamed: NDArray[np.bool_]
    execute: Ints


class _Run:
    """The state of a run: `done` and `copied` [event, ant], newest values in place of the last token's."""

    def __init__(self, chain: Chain, slots: int) -> None:
        ants, blocks = chain.streamed.shape
        flat = np.flatnonzero(chain.streamed)
        rows = flat // blocks
        counts = np.bincount(rows, minlength=ants)
        position = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
        self.ants = np.argsort(-counts, kind="stable")
        self.counts = counts[self.ants]
        column = np.argsort(self.ants, kind="stable")[rows]
        shape = (int(counts.max(initial=0)), ants)
        cell = position * ants + column
        ahead = np.cumsum(chain.seconds, axis=1)
        finish, compute = ahead.take(flat), chain.compute.take(flat)
        before = np.concatenate([[0.0], finish[:-1]])[: len(finish)]
        before[position == 0] = 0.0
        self.gap = _spread(finish - compute - before, cell, shape)
        self.compute = _spread(compute, cell, shape)
        self.copy = _spread(chain.copy.take(flat), cell, shape)
        end = np.append(finish, 0.0)[np.cumsum(counts) - 1]
        self.tail = (ahead[:, -1] - np.where(counts > 0, end, 0.0))[self.ants]
        lanes = chain.execute.take(flat)
        self.lanes = np.flatnonzero(np.bincount(lanes))
        slot, lane = np.zeros_like(position), np.zeros_like(position)
        for one in self.lanes:
            here = np.arange(len(lanes)) if len(self.lanes) == 1 else np.flatnonzero(lanes == one)
            slot[here] = position[_back(here, rows, ants, slots)]
            if len(self.lanes) > 1:
                lane[here] = position[_back(here, rows, ants, 1)]
        self.slot, self.lane = _spread(slot, cell, shape), _spread(lane, cell, shape)
        self.done, self.copied = np.zeros(shape), np.zeros(shape)
        self.now, self.free = np.zeros(ants), np.zeros(ants)
        self._views()

    def _views(self) -> None:
        """Cut every array into one contiguous prefix per event, once for all tokens."""
        width, ants = self.gap.shape
        column, buffers = np.arange(ants), (np.zeros(ants), np.zeros(ants))
        slot, lane = self.slot * ants + column, self.lane * ants + column
        many = np.searchsorted(-self.counts, -np.arange(width), side="left")
        self.events = [
            (slot[j, :n], lane[j, :n], self.copy[j, :n], self.gap[j, :n], self.compute[j, :n], self.done[j, :n],
             self.free[:n] if len(self.lanes) == 1 else self.copied[j, :n],
             self.done[j - 1, :n] if j else self.now[:n], buffers[0][:n], buffers[1][:n])
            for j, n in enumerate(many)
        ]  # fmt: skip
        self.last = np.maximum(self.counts - 1, 0) * ants + column

    def token(self) -> Floats:
        """Advance by one pass and return its end per ant."""
        done, copied = self.done.ravel(), self.copied.ravel()
        one_lane = len(self.lanes) == 1
        for slot, lane, copy, gap, compute, end, arrived, before, begin, other in self.events:
            done.take(slot, out=begin, mode="clip")
            if one_lane:
                np.maximum(begin, arrived, out=begin)
            else:
                copied.take(lane, out=other, mode="clip")
                np.maximum(begin, other, out=begin)
            np.add(begin, copy, out=arrived)
            np.add(before, gap, out=other)
            np.maximum(other, arrived, out=other)
            np.add(other, compute, out=end)
        if self.events:
            self.now[:] = np.where(self.counts > 0, done[self.last], self.now)
        self.now += self.tail
        return self.now.copy()

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Go on with some of the ants only."""
        for name in ("ants", "counts", "now", "tail", "free"):
            setattr(self, name, getattr(self, name)[mask])
        width = int(self.counts.max(initial=0))
        for name in ("gap", "compute", "copy", "slot", "lane", "done", "copied"):
            setattr(self, name, np.ascontiguousarray(getattr(self, name)[:width, mask]))
        self._views()


def _spread(values: NDArray[Any], cell: Ints, shape: tuple[int, int]) -> NDArray[Any]:
    """Return an array of `shape` with `values` at the flat indices `cell`, 0 elsewhere."""
    spread = np.zeros(shape, values.dtype)
    spread.ravel()[cell] = values
    return spread


def _back(here: Ints, rows: Ints, ants: int, steps: int) -> Ints:
    """Return, for the events of one lane, the event so many steps back in the cycle of the same ant."""
    row = rows[here]
    count = np.bincount(row, minlength=ants)
    start = np.cumsum(count) - count
    rank = np.arange(len(here)) - start[row]
    return np.asarray(here[start[row] + (rank - np.minimum(steps, count[row])) % count[row]])


def first_ends(chain: Chain, slots: int) -> Floats:
    """Return the end of the first pass from a cold start, per ant."""
    run = _Run(chain, slots)
    ends = np.empty(len(chain.streamed))
    ends[run.ants] = run.token()
    return ends


def periods(chain: Chain, slots: int, floor: Floats) -> Floats:
    """Return the steady-state seconds per pass, per ant; `floor` sets the tolerance of steady."""
    run = _Run(chain, slots)
    result: Floats = chain.seconds.sum(1)
    if run.counts.min() == 0:
        run.keep(run.counts > 0)
    ends: list[Floats] = []
    unsettled = np.ones(len(run.ants), dtype=bool)
    if not len(run.ants):
        return result
    for token in range(MAXIMUM_TOKENS):
        ends.append(run.token())
        if token < 3:
            continue
        recent = np.diff(np.stack(ends[-4:]), axis=0)
        settled = unsettled & (recent.max(0) - recent.min(0) <= TOLERANCE * floor[run.ants])
        result[run.ants[settled]] = recent[-1][settled]
        unsettled &= ~settled
        if not unsettled.any():
            return result
        if 2 * int(unsettled.sum()) <= len(unsettled):
            ends = [end[unsettled] for end in ends]
            run.keep(unsettled)
            unsettled = np.ones(len(run.ants), dtype=bool)
    half = MAXIMUM_TOKENS // 2
    result[run.ants[unsettled]] = ((ends[-1] - ends[-1 - half]) / half)[unsettled]
    return result
