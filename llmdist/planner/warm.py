"""A search that goes on from an earlier plan: its placement as far as it still can be had, and its trail."""

from __future__ import annotations

import numpy as np

from .classes import BlockClasses
from .result import PlanResult
from .tables import Choices, CostTables, Floats

__all__ = ["start_choice", "start_trail"]


def start_choice(tables: CostTables, start: PlanResult) -> Choices | None:
    """Return the earlier placement as option indices; where its option is gone, the likest that is left.

    None for a plan of another model.
    """
    if start.placement.blocks != tuple(block.name for block in tables.problem.blocks):
        return None
    rows = zip(tables.options, start.placement.assignments, strict=True)
    return np.array([row.index(old) if old in row else _likest(row, old) for row, old in rows], np.int64)


def _likest(row: tuple[object, ...], old: object) -> int:
    fields = ("exec_device", "home_device", "precision", "on_demand", "cpu_eighths")
    same = [[getattr(option, name) == getattr(old, name) for name in fields] for option in row]
    return max(range(len(row)), key=lambda k: same[k])


def start_trail(tables: CostTables, start: PlanResult, low: float) -> Floats | None:
    """Return the earlier trail as values in `low .. 1 - low` [block, option], 0.5 where its options differ.

    None where there is no trail of this model.
    """
    if len(start.trail) != tables.shape[0] or start.placement.blocks != tuple(b.name for b in tables.problem.blocks):
        return None
    classes = BlockClasses(start.problem)
    values = np.where(tables.valid, 0.5, 0.0)
    for b, (row, old) in enumerate(zip(tables.options, classes.of_block, strict=True)):
        if row == classes.options[old] and len(start.trail[b]) >= len(row):
            values[b, : len(row)] = np.clip(start.trail[b][: len(row)], low, 1 - low)
    return values
