"""The optimum of a small problem by enumeration in chunks: the oracle of the tests."""

from __future__ import annotations

import numpy as np

from ..cost.vectorised import evaluate_many, floor_many, over_bytes_many
from ..errors import InfeasibleError, PlanError
from .tables import Choices, CostTables

__all__ = ["LARGEST", "enumerate_optimum"]

LARGEST = 2_000_000
CHUNK = 16384


def enumerate_optimum(tables: CostTables) -> tuple[Choices, float]:
    """Return the best choice and its objective; PlanError above `LARGEST` combinations."""
    widths = tables.valid.sum(1)
    total = int(np.prod(widths.astype(float)))
    if total > LARGEST:
        raise PlanError(f"{total} placements are too many to enumerate (at most {LARGEST}): use solve.")
    best, objective = np.zeros(len(widths), np.int64), float("inf")
    for start in range(0, total, CHUNK):
        numbers = np.arange(start, min(start + CHUNK, total))
        choices = np.stack(np.unravel_index(numbers, tuple(widths)), axis=1).astype(np.int64)
        choices = choices[over_bytes_many(tables, choices) == 0]
        choices = choices[floor_many(tables, choices) < objective] if len(choices) else choices
        if not len(choices):
            continue
        values, _ = evaluate_many(tables, choices)
        index = int(values.argmin())
        if values[index] < objective:
            best, objective = choices[index], float(values[index])
    if not np.isfinite(objective):
        raise InfeasibleError("None of the enumerated placements fits under the caps: raise a cap.")
    return best, objective
