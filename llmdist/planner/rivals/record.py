"""What every rival runs under: the same evaluator, the same clock, one record of the best plan over time."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ...cost.vectorised import Batch
from ..tables import Choices, CostTables, Floats

__all__ = ["Record", "random_fitting"]


class Record:
    """The best plan so far of one run, with when it was found; `left` says whether there is time."""

    def __init__(self, tables: CostTables, seconds: float, clock: Callable[[], float] = time.process_time) -> None:
        self.tables, self.seconds, self.clock = tables, seconds, clock
        self.started = clock()
        self.evaluations = 0
        self.best: Choices | None = None
        self.value = float("inf")
        self.trace: list[tuple[float, float]] = []

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started

    @property
    def left(self) -> bool:
        """Whether the run may go on."""
        return self.elapsed < self.seconds

    def consider(self, choices: Choices) -> tuple[Floats, Floats]:
        """Return (objective seconds, bytes over the caps) of placements [ant, block] and keep the best that fits."""
        batch = Batch(self.tables, choices)
        values, over = batch.objective, batch.over
        self.evaluations += len(choices)
        fitting = np.where(over == 0, values, np.inf)
        first = int(fitting.argmin())
        if fitting[first] < self.value:
            self.best, self.value = choices[first].copy(), float(fitting[first])
            self.trace.append((self.elapsed, self.value))
        return values, over


def random_fitting(tables: CostTables, count: int, generator: np.random.Generator) -> Choices:
    """Return random placements that mostly fit: each block takes a random option among those with memory left.

    Blocks are visited in random order; slots are not foreseen, but half of the ants keep some memory back.
    """
    blocks, _ = tables.shape
    width = tables.shape[1]
    start = np.concatenate([[0], np.cumsum(tables.additive.widths)])
    rest = tables.additive.matrix[:, start[0] : start[1]]
    penalty = tables.additive.matrix[:, start[2]]
    keep = generator.random((count, 1)) * 0.2 * (generator.random((count, 1)) < 0.5)
    left = np.where(np.isfinite(tables.caps), tables.caps, 1e30)[None] * (1.0 - keep)
    budget = np.full(count, np.inf if tables.problem.quality_budget is None else tables.problem.quality_budget)
    choices = np.zeros((count, blocks), np.int64)
    for b in generator.permutation(blocks):
        cells = tables.additive.codes[b] + np.arange(width)
        fits = (rest[cells][None] <= left[:, None, :]).all(2) & (penalty[cells][None] <= budget[:, None])
        draw = generator.random((count, width)) + fits * 2.0
        choice = np.where(tables.valid[b], draw, -1.0).argmax(1)
        choices[:, b] = choice
        left -= rest[cells[choice]]
        budget -= penalty[cells[choice]]
    return choices
