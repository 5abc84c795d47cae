"""What changing one block would cost, from the tables: the numbers behind "why here?"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmdist.cost.vectorised import peak_many, times_many
from llmdist.planner.placement import Assignment
from llmdist.planner.tables import CostTables
from llmdist.units import format_bytes, format_seconds

__all__ = ["Alternative", "alternatives", "why_words"]


@dataclass(frozen=True, slots=True)
class Alternative:
    """One block moved to `assignment`: change of seconds per token, and the first device over its cap."""

    option: int
    assignment: Assignment
    seconds_change: float
    over_device: str
    over_bytes: float


def alternatives(tables: CostTables, choice: Sequence[int], block: int) -> list[Alternative]:
    """Return every other option of `block`, the fastest that fits first."""
    options = tables.options[block]
    rows = np.tile(np.array(choice, dtype=np.int64), (len(options) + 1, 1))
    rows[1:, block] = np.arange(len(options))
    tpot, _ = times_many(tables, rows)
    over = peak_many(tables, rows) - tables.caps
    found = []
    for index, option in enumerate(options):
        if index == choice[block]:
            continue
        worst = int(np.argmax(over[index + 1]))
        excess = float(over[index + 1, worst])
        device = tables.problem.devices[worst].name if excess >= 0.5 else ""
        change = 0.0 if tpot[index + 1] == tpot[0] else float(tpot[index + 1] - tpot[0])  # both may be infinite
        found.append(Alternative(index, option, change, device, max(0.0, excess)))
    return sorted(found, key=lambda a: (bool(a.over_device), a.seconds_change))


def _change(seconds: float) -> str:
    if abs(seconds) < 5e-7:
        return "no change of speed"
    if seconds == float("inf"):
        return "impossible, no path for activations"
    return f"{format_seconds(abs(seconds))} {'more' if seconds > 0 else 'less'} per token"


def why_words(tables: CostTables, choice: Sequence[int], block: int, count: int = 4) -> list[str]:
    """Return a line for each of the block's best other options: what it alone would change, and whether it fits."""
    lines = []
    for other in alternatives(tables, choice, block)[:count]:
        over = f"; {other.over_device} would be OVER its cap by {format_bytes(other.over_bytes)}"
        lines.append(
            f"{other.assignment.label}: {_change(other.seconds_change)}{over if other.over_device else '; it fits'}"
        )
    return lines
