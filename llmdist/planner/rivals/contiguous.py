"""Dynamic programming over contiguous cuts: the chain is cut into runs, each with one option for all its blocks.

The runs follow an order of options; the dynamic program minimises the sum of compute and copy seconds under each
option's own memory. The cuts are then moved as long as the real objective falls and time is left.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from ..placement import Assignment
from ..tables import Choices, CostTables, Floats
from .record import Record

__all__ = ["contiguous"]

MOST_ORDERS = 60


def _rows(tables: CostTables, option: Assignment) -> Choices | None:
    """Return the index of `option` for every block, or None where a block lacks it."""
    found = [row.index(option) if option in row else -1 for row in tables.options]
    return np.array(found) if min(found) >= 0 else None


def _cuts(seconds: list[Floats], memory: list[Floats], caps: list[float]) -> list[int] | None:
    """Return where each run begins so that every run fits its cap and the sum of seconds is least."""
    blocks = len(seconds[0])
    best = np.full(blocks + 1, np.inf)
    best[0] = 0.0
    back: list[Choices] = []
    for cost, used, cap in zip(seconds, memory, caps, strict=True):
        time, bytes_ = np.concatenate([[0.0], np.cumsum(cost)]), np.concatenate([[0.0], np.cumsum(used)])
        total = best[:, None] + time[None, :] - time[:, None]
        forward = np.arange(blocks + 1)[None] >= np.arange(blocks + 1)[:, None]
        legal = (bytes_[None, :] - bytes_[:, None] <= cap) & forward
        total = np.where(legal, total, np.inf)
        back.append(total.argmin(0))
        best = total.min(0)
    if not np.isfinite(best[-1]):
        return None
    cuts, position = [], blocks
    for row in reversed(back):
        position = int(row[position])
        cuts.append(position)
    return cuts[::-1]


def _joined(rows: list[Choices], cuts: list[int]) -> Choices:
    choice = np.zeros(len(rows[0]), np.int64)
    for row, start, end in zip(rows, cuts, [*cuts[1:], len(choice)], strict=True):
        choice[start:end] = row[start:end]
    return choice


def contiguous(record: Record, seed: int = 0) -> None:
    """Run the dynamic program over orders of options, then move the cuts of the best."""
    tables, problem = record.tables, record.tables.problem
    generator = np.random.default_rng(seed)
    blocks = np.arange(tables.shape[0])
    middle = tables.options[tables.shape[0] // 2]
    plain = [option for option in middle if option.mode in ("resident", "streamed")]
    found: tuple[float, list[Choices], list[int]] | None = None
    for precision in problem.precisions:
        options = [option for option in plain if option.precision == precision]
        orders = list(permutations(options, min(len(options), 4)))
        generator.shuffle(orders)
        for order in orders[:MOST_ORDERS]:
            if not record.left:
                break
            rows = [row for option in order if (row := _rows(tables, option)) is not None]
            seconds = [tables.decode.compute[blocks, row] + tables.decode.copy[blocks, row] for row in rows]
            memory = [tables.weight[blocks, row] + tables.kv for row in rows]
            held = problem.slots * float(tables.slot.max()) + problem.workspace_bytes
            caps = [0.97 * float(tables.caps[tables.home[0, row[0]]]) - held for row in rows]
            cuts = _cuts(seconds, memory, caps)
            if cuts is None:
                continue
            values, over = record.consider(_joined(rows, cuts)[None])
            if over[0] == 0 and (found is None or values[0] < found[0]):
                found = (float(values[0]), rows, cuts)
    while found is not None and record.left:
        value, rows, cuts = found
        moved = np.clip(np.array(cuts)[None] + generator.integers(-6, 7, (48, len(cuts))), 0, len(blocks))
        moved[:, 0] = 0
        moved.sort(axis=1)
        values, over = record.consider(np.array([_joined(rows, list(row)) for row in moved.tolist()]))
        values = np.where(over == 0, values, np.inf)
        if values.min() < value:
            found = (float(values.min()), rows, moved[int(values.argmin())].tolist())
