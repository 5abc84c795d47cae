"""When a search ends: by time, by iterations, without improvement, or close enough to the bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["AnyOf", "Asked", "GapReached", "MaxIterations", "MaxSeconds", "NoImprovement", "Progress", "StopRule"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search stands after an iteration."""

    iteration: int
    elapsed_seconds: float
    best: float
    bound: float
    idle_iterations: int


class StopRule(Protocol):
    """A rule gives the reason to stop, or None; `seconds` is its time limit if it has one."""

    @property
    def seconds(self) -> float | None:
        """Return the time limit."""

    def reason(self, progress: Progress) -> str | None:
        """Return why the search ends now, or None."""


@dataclass(frozen=True, slots=True)
class MaxSeconds:
    """Stop after `seconds` of wall-clock time."""

    seconds: float | None

    def reason(self, progress: Progress) -> str | None:
        """Return ``time`` once the limit has passed."""
        return "time" if self.seconds is not None and progress.elapsed_seconds >= self.seconds else None


@dataclass(frozen=True, slots=True)
class MaxIterations:
    """Stop after `iterations` of the colony."""

    iterations: int
    seconds: float | None = None

    def reason(self, progress: Progress) -> str | None:
        """Return ``iterations`` once they are done."""
        return "iterations" if progress.iteration >= self.iterations else None


@dataclass(frozen=True, slots=True)
class NoImprovement:
    """Stop after `iterations` that did not improve the best plan."""

    iterations: int
    seconds: float | None = None

    def reason(self, progress: Progress) -> str | None:
        """Return ``stagnation`` once the best plan has not changed for that long."""
        return "stagnation" if progress.idle_iterations >= self.iterations else None


@dataclass(frozen=True, slots=True)
class GapReached:
    """Stop when the best plan is within `gap` of the lower bound (0.01 = 1 %)."""

    gap: float
    seconds: float | None = None

    def reason(self, progress: Progress) -> str | None:
        """Return ``gap`` once the plan is that close."""
        return "gap" if progress.best <= progress.bound * (1 + self.gap) else None


@dataclass(frozen=True, slots=True)
class Asked:
    """Stop as soon as `asked` returns true, such as the flag of a button."""

    asked: Callable[[], bool]
    seconds: float | None = None

    def reason(self, progress: Progress) -> str | None:
        """Return ``asked`` once somebody asked."""
        return "asked" if self.asked() else None


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Stop as soon as one of the rules says so."""

    rules: tuple[StopRule, ...]

    @property
    def seconds(self) -> float | None:
        """Return the shortest time limit among the rules."""
        limits = [rule.seconds for rule in self.rules if rule.seconds is not None]
        return min(limits) if limits else None

    def reason(self, progress: Progress) -> str | None:
        """Return the first rule's reason."""
        return next((why for rule in self.rules if (why := rule.reason(progress))), None)
