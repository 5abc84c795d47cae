"""Simulated annealing: chains side by side, each with moves and swaps; the temperature falls with the time."""

from __future__ import annotations

import numpy as np

from ...cost.vectorised import Batch
from ..baselines import greedy
from .record import Record, random_fitting

__all__ = ["annealing"]

CHAINS = 64
HOT, COLD = 0.02, 1e-5  # temperatures, as shares of the current objective


def annealing(record: Record, seed: int = 0) -> None:
    """Anneal from the greedy plan and random ones that fit; proposals further over the caps are refused."""
    tables, generator = record.tables, np.random.default_rng(seed)
    current = np.concatenate([greedy(tables)[None], random_fitting(tables, CHAINS * 4, generator)])
    values, over = record.consider(current)
    order = np.lexsort((values, over))[:CHAINS]
    current, values, over = current[order], values[order], over[order]
    blocks, widths = tables.shape[0], tables.valid.sum(1)
    row = np.arange(len(current))
    while record.left:
        heat = HOT * (COLD / HOT) ** min(1.0, record.elapsed / record.seconds)
        proposed = current.copy()
        first = generator.integers(blocks, size=len(current))
        other = (first + generator.integers(1, 9, size=len(current))) % blocks
        swap = (generator.random(len(current)) < 0.5) & (tables.classes[first] == tables.classes[other])
        option = np.floor(generator.random(len(current)) * widths[first]).astype(np.int64)
        proposed[row, first] = np.where(swap, current[row, other], option)
        proposed[row[swap], other[swap]] = current[row[swap], first[swap]]
        batch = Batch(tables, proposed)
        hopeful = np.flatnonzero(batch.over <= over)
        if not len(hopeful):
            continue
        new, excess = record.consider(proposed[hopeful])
        worse = (new - values[hopeful]) / np.maximum(values[hopeful] * heat, 1e-300)
        taken = (excess < over[hopeful]) | (generator.random(len(hopeful)) < np.exp(-np.maximum(worse, 0.0)))
        winners = hopeful[taken]
        current[winners], values[winners], over[winners] = proposed[winners], new[taken], excess[taken]
