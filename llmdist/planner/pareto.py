"""The Pareto front of speed, memory and quality: plans of which none is beaten in all three.

Memory is a share of the problem's caps of the exec devices, quality the sum of penalties. Each corner of a small
grid of both is solved by the colony (epsilon constraints); plans that another one dominates are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..cost.memory import quality_penalty
from ..errors import InfeasibleError, PlanError
from .problem import PlanningProblem
from .result import PlanResult
from .solve import solve
from .stop import StopRule

__all__ = ["FrontPlan", "pareto_front"]


@dataclass(frozen=True, slots=True)
class FrontPlan:
    """A plan of the front: seconds of its objective, peak bytes on the exec devices, loss of quality."""

    plan: PlanResult
    seconds: float
    memory_bytes: int
    penalty: float

    def dominates(self, other: FrontPlan) -> bool:
        """Whether this plan is as good as `other` in all three respects and better in one."""
        own, its = self._values(), other._values()
        return all(a <= b for a, b in zip(own, its, strict=True)) and own != its

    def _values(self) -> tuple[float, int, float]:
        return (self.seconds, self.memory_bytes, self.penalty)


def pareto_front(
    problem: PlanningProblem,
    memory_shares: Sequence[float] = (0.4, 0.6, 0.8, 1.0),
    budgets: Sequence[float] | None = None,
    stop: StopRule | None = None,
    seed: int = 0,
    simulated: bool = False,
) -> tuple[FrontPlan, ...]:
    """Return the plans that no other one dominates, the fastest first; `stop` holds for each corner of the grid.

    `budgets` are losses of quality; None takes a grid up to the problem's own (one budget where only one
    precision is allowed).

    Raises
    ------
    PlanError : a share is not in 0..1. InfeasibleError : no corner of the grid can be planned.
    """
    if not memory_shares or not all(0 < share <= 1 for share in memory_shares):
        raise PlanError(f"Memory shares {tuple(memory_shares)} were asked: give shares above 0, at most 1.")
    found: list[FrontPlan] = []
    refused: InfeasibleError | None = None
    executors = [device.name for device in problem.devices if device.executes]
    for budget in _budgets(problem) if budgets is None else budgets:
        for share in memory_shares:
            caps = {name: int(problem.cap(name) * share) for name in executors}
            try:
                plan = solve(replace(problem.with_caps(caps), quality_budget=budget), seed, stop, simulated=simulated)
            except InfeasibleError as error:
                refused = error
                continue
            memory = sum(plan.prediction.peak_bytes[name] for name in executors)
            loss = quality_penalty(problem, plan.placement)
            found.append(FrontPlan(plan, plan.objective_seconds, memory, loss))
    if refused is not None and not found:
        raise refused
    best = {(p.seconds, p.memory_bytes, p.penalty): p for p in found if not any(q.dominates(p) for q in found)}
    return tuple(sorted(best.values(), key=lambda p: (p.seconds, p.memory_bytes)))


def _budgets(problem: PlanningProblem) -> tuple[float, ...]:
    """Return losses of quality from the least to the most that the problem allows."""
    per_precision = [sum(problem.penalty(block, p) for block in problem.blocks) for p in problem.precisions]
    most = max(per_precision) if problem.quality_budget is None else min(max(per_precision), problem.quality_budget)
    least = min(per_precision)
    if most <= least:
        return (most,)
    return tuple(least + (most - least) * share for share in (0.0, 0.25, 0.5, 0.75, 1.0))
