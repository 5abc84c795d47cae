"""FlexGen's policy: a linear program finds which percentage of all weights rests where, then blocks follow it.

The percentages are the same for the whole model and ignore the order of events. They are handed out in two ways,
in runs and interleaved; the share of the fastest memory shrinks until the plan fits.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from ..placement import Assignment
from ..tables import Choices, CostTables, Floats
from .record import Record

__all__ = ["flexgen"]


def flexgen(record: Record, seed: int = 0) -> None:
    """Solve the linear program with less and less of the caps, and take every plan that fits."""
    del seed
    tables = record.tables
    middle = tables.options[tables.shape[0] // 2]
    options = [option for option in middle if option.mode in ("resident", "streamed")]
    rows = [option for option in options if all(option in row for row in tables.options)]
    index = np.array([[row.index(option) for option in rows] for row in tables.options])
    for kept in (1.0, 0.97, 0.94, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5):
        if not record.left:
            return
        shares = _percentages(tables, rows, index, kept)
        if shares is None:
            continue
        plans = np.array([_in_runs(tables, shares, index), _interleaved(tables, shares, index)])
        if (record.consider(plans)[1] == 0).all():
            return


def _percentages(tables: CostTables, rows: list[Assignment], index: Choices, kept: float) -> Floats | None:
    """Return the share of the model per option that minimises the time, overlap of copies and computes assumed."""
    blocks = np.arange(tables.shape[0])
    matrix, start = tables.additive.matrix, np.concatenate([[0], np.cumsum(tables.additive.widths)])
    sums = np.stack([matrix[tables.additive.codes[blocks] + index[:, k]].sum(0) for k in range(len(rows))])
    scale = float(sums[:, start[5]].min())
    times = np.concatenate([sums[:, start[5] : start[6]], sums[:, start[7] : start[8]]], axis=1) / scale
    upper = [np.append(times[:, r], -1.0) for r in range(times.shape[1])]
    limits = [0.0] * len(upper)
    reserve = tables.problem.workspace_bytes + tables.problem.slots * tables.slot.max()
    for m, cap in enumerate(tables.caps):
        if np.isfinite(cap):
            upper.append(np.append(sums[:, m] / 1e9, 0.0))
            held = reserve if m in tables.executors else 0.0
            limits.append(max(0.0, cap * kept - held) / 1e9)
    if tables.problem.quality_budget is not None:
        upper.append(np.append(sums[:, start[2]], 0.0))
        limits.append(tables.problem.quality_budget * kept)
    goal = np.zeros(len(rows) + 1)
    goal[-1] = 1.0
    whole = np.append(np.ones(len(rows)), 0.0)[None]
    found = linprog(goal, A_ub=np.array(upper), b_ub=limits, A_eq=whole, b_eq=[1.0], method="highs")
    return np.asarray(found.x)[:-1] if found.status == 0 else None


def _in_runs(tables: CostTables, shares: Floats, index: Choices) -> Choices:
    """Give the first percent of the weights to the first option, and so on."""
    size = np.array([block.parameters for block in tables.problem.blocks], dtype=float)
    middle = (np.cumsum(size) - size / 2) / max(1.0, size.sum())
    option = np.minimum(np.searchsorted(np.cumsum(shares), middle), len(shares) - 1)
    return np.asarray(index[np.arange(len(index)), option])


def _interleaved(tables: CostTables, shares: Floats, index: Choices) -> Choices:
    """Give each block to the option that is furthest behind its percentage."""
    given, total = np.zeros(len(shares)), 0.0
    choice = np.zeros(len(index), np.int64)
    for b, block in enumerate(tables.problem.blocks):
        total += block.parameters
        option = int((shares * total - given).argmax())
        given[option] += block.parameters
        choice[b] = index[b, option]
    return choice
