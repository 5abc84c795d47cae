"""The verdict of a check cell: right or wrong, and a sentence that helps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from reprlib import repr as shown
from typing import Any

__all__ = ["Verdict", "number", "shown", "within"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to an exercise was `right` or not; `words` say why, without giving the answer away."""

    right: bool
    words: str

    def __bool__(self) -> bool:
        return self.right

    def __str__(self) -> str:
        return f"{'Right' if self.right else 'Not yet'}: {self.words}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def number(answer: Any) -> float | None:
    """Return `answer` as a finite number; None for what is none."""
    try:
        value = float(answer)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def within(answer: Any, truth: float, tolerance: float) -> bool:
    """Return whether `answer` is within the share `tolerance` of `truth`; False for what is no number."""
    value = number(answer)
    return value is not None and abs(value - truth) <= tolerance * abs(truth)
