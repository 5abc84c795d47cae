"""The log of predictions as aligned text."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

from .fit import Calibration
from .observation import Observation

__all__ = ["log_words"]


def log_words(observations: Sequence[Observation], calibration: Calibration, last: int = 5) -> str:
    """Return the last few runs (predicted, band, measured, error) and what calibration changed."""
    shown = observations[-last:]
    rows: list[tuple[str, ...]] = [("run", "predicted", "expected", "measured", "error")] if shown else []
    rows += map(_row, shown)
    widths = [max(len(row[i]) for row in rows) for i in range(5)] if rows else []
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    if shown:
        lines.append("measured is the median token of a run without its first three")
    return "\n".join([*lines, calibration.sentence()])


def _row(seen: Observation) -> tuple[str, ...]:
    told, band = seen.told_tokens_per_second, exp(2 * seen.told_spread)
    expected = f"{told / band:.4g} to {told * band:.4g}" if seen.told_spread else "-"
    when = seen.date[:16].replace("T", " ")
    error = told / seen.tokens_per_second - 1
    percent = f"{round(100 * error):+d}%" if round(100 * error) else "0%"
    return when, f"{told:.4g} tokens/s", expected, f"{seen.tokens_per_second:.4g} tokens/s", percent
