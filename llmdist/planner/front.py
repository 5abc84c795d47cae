"""What a search for a Pareto front returns: its plans, numbered from 1, in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from ..errors import PlanError
from ..units import format_bytes, format_speed
from .problem import PlanningProblem
from .result import PlanResult

__all__ = ["FrontPlan", "ParetoFront"]


@dataclass(frozen=True, slots=True)
class FrontPlan:
    """A plan of the front: seconds of its objective, peak bytes on the exec devices, loss of quality."""

    plan: PlanResult
    seconds: float
    memory_bytes: int
    penalty: float

    @property
    def tokens_per_second(self) -> float:
        """Return the predicted speed."""
        return self.plan.prediction.tokens_per_second

    def dominates(self, other: FrontPlan) -> bool:
        """Whether this plan is as good as `other` in all three respects and better in one."""
        own, its = self._values(), other._values()
        return all(a <= b for a, b in zip(own, its, strict=True)) and own != its

    def _values(self) -> tuple[float, int, float]:
        return (self.seconds, self.memory_bytes, self.penalty)

    def precisions(self) -> str:
        """Return how many blocks take each precision, such as ``int8 12, bf16 6``."""
        counts = Counter(assignment.precision for assignment in self.plan.placement.assignments)
        return ", ".join(f"{name} {count}" for name, count in counts.most_common())

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return what tables say of it: tokens/s, memory, loss of quality, precisions, gap to the bound."""
        gap = "optimal" if self.plan.proven_optimal else f"{self.plan.gap:.1%}"
        speed, memory = format_speed(self.tokens_per_second), format_bytes(self.memory_bytes)
        return speed, memory, f"{self.penalty:.3f}", self.precisions(), gap


@dataclass(frozen=True)
class ParetoFront(Sequence[FrontPlan]):
    """The plans that no other one beats in speed, memory and quality at once, the fastest first.

    `problem` is the one whose caps and precisions were searched; each plan's own has its corner's caps and quality
    budget. `front[0]` is plan 1 of the table.
    """

    problem: PlanningProblem
    plans: tuple[FrontPlan, ...]

    HEADINGS = ("plan", "tokens/s", "memory", "loss of quality", "blocks in", "at most from best")

    def __len__(self) -> int:
        return len(self.plans)

    @overload
    def __getitem__(self, index: int) -> FrontPlan: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[FrontPlan, ...]: ...
    def __getitem__(self, index: int | slice) -> FrontPlan | tuple[FrontPlan, ...]:
        return self.plans[index]

    @property
    def provenance(self) -> str:
        """Return ``(simulated: rtx4090)`` for a machine that is not there, or nothing."""
        return self.plans[0].plan.provenance

    def numbered(self, number: int) -> PlanResult:
        """Return plan `number` of the table; PlanError says which numbers there are."""
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(self.plans):
            raise PlanError(
                f"Plan {number!r} of the front was asked, but it has {len(self.plans)} "
                f"plan{'s' * (len(self.plans) > 1)}: give a number from 1 to {len(self.plans)}."
            )
        return self.plans[number - 1].plan

    def number_of(self, plan: PlanResult | None) -> int | None:
        """Return the number of `plan` in the table; None where it is not one of them."""
        return next((n for n, own in enumerate(self.plans, 1) if own.plan is plan), None)

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """Return the table without its marks: one row of words per plan, under `HEADINGS`."""
        return tuple((str(number), *own.cells()) for number, own in enumerate(self.plans, 1))

    def summary(self, in_force: PlanResult | None = None) -> str:
        """Return the table as text; an arrow marks the plan that is `in_force`."""
        count, chosen = len(self.plans), self.number_of(in_force)
        rows = [self.HEADINGS, *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.HEADINGS))]
        lines = [self.headline()]
        for number, row in enumerate(rows):
            mark = "->" if number and number == chosen else "  "
            cells = [f"{cell:{side}{width}}" for cell, side, width in zip(row, ">>>><>", widths, strict=True)]
            lines.append(f"{mark} {'  '.join(cells)}".rstrip())
        if chosen is not None:
            lines.append(f"-> plan {chosen} of {count} is in force")
        return "\n".join(lines)

    def headline(self) -> str:
        """Return in one sentence what the front is."""
        count = len(self.plans)
        what = f"{count} plans, none beaten" if count > 1 else "1 plan, not beaten"
        return f"Pareto front {self.provenance}".rstrip() + f": {what} in speed, memory and quality at once"

    def _repr_pretty_(self, printer: object, cycle: bool) -> None:
        printer.text("ParetoFront(...)" if cycle else self.summary())  # type: ignore[attr-defined]
