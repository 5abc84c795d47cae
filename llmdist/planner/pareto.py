"""The Pareto front of speed, memory and quality: plans of which none is beaten in all three.

Quality is the sum of penalties. For each budget of it the colony plans under the whole caps, then within shares of the
memory that this plan takes on the exec devices (epsilon constraints); plans that another one dominates are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from numbers import Real
from typing import Any

from ..cost.memory import quality_penalty
from ..errors import InfeasibleError, PlanError
from ..events import Observer
from .front import FrontPlan, ParetoFront
from .params import ColonyParameters
from .problem import PlanningProblem
from .result import PlanResult
from .solve import solve
from .stop import AnyOf, Asked, MaxSeconds, StopRule

__all__ = ["MEMORY_SHARES", "front_within", "pareto_front"]

MEMORY_SHARES = (0.4, 0.6, 0.8)


def pareto_front(
    problem: PlanningProblem,
    memory_shares: Sequence[float] = MEMORY_SHARES,
    budgets: Sequence[float] | None = None,
    stop: StopRule | None = None,
    seed: int = 0,
    simulated: bool = False,
    params: ColonyParameters | None = None,
    on_event: Observer | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> ParetoFront:
    """Return the plans that no other one dominates, the fastest first; `stop` holds for each corner of the grid.

    `budgets` are losses of quality; None takes a grid up to the problem's own (one budget where only one
    precision is allowed). Once `enough` is true no further corner is begun. `on_event` gets the events of every
    corner's search, one search after the other.

    Raises
    ------
    PlanError : a share is not in 0..1. InfeasibleError : no corner of the grid can be planned.
    """
    _check_grid(memory_shares, budgets)
    found: list[FrontPlan] = []
    refused: list[InfeasibleError] = []

    def search(corner: PlanningProblem, start: PlanResult | None) -> PlanResult | None:
        """Search one corner, from a plan of a neighbour; None where nothing fits or no more is asked for."""
        if found and enough():
            return None
        try:
            plan = solve(corner, seed, stop, on_event, params, simulated, start)
        except InfeasibleError as error:
            refused.append(error)
            return None
        memory = sum(plan.prediction.peak_bytes[d.name] for d in problem.devices if d.executes)
        found.append(FrontPlan(plan, plan.objective_seconds, memory, quality_penalty(problem, plan.placement)))
        return plan

    whole: list[PlanResult] = []
    for budget in _budgets(problem) if budgets is None else sorted(budgets):
        plan = search(replace(problem, quality_budget=budget), whole[-1] if whole else None)
        whole += [plan] if plan is not None else []
    for share in sorted((share for share in memory_shares if share < 1), reverse=True):
        for plan in whole:
            search(_within(plan, share), plan)
    if not found:
        raise refused[0]
    best = {(p.seconds, p.memory_bytes, p.penalty): p for p in found if not any(q.dominates(p) for q in found)}
    return ParetoFront(problem, tuple(sorted(best.values(), key=lambda p: (p.seconds, p.memory_bytes))))


def _within(plan: PlanResult, share: float) -> PlanningProblem:
    """Return the plan's problem with caps of `share` of what it takes on each exec device."""
    problem, used = plan.problem, plan.prediction.peak_bytes
    taken = {device.name: used[device.name] for device in problem.devices if device.executes}
    return problem.with_caps({name: int(share * size) for name, size in taken.items() if size})


def front_within(
    problem: PlanningProblem,
    seconds: float,
    memory_shares: Sequence[float] = MEMORY_SHARES,
    budgets: Sequence[float] | None = None,
    stop: StopRule | None = None,
    enough: Callable[[], bool] = lambda: False,
    **rest: Any,
) -> ParetoFront:
    """Return `pareto_front` in about `seconds`, an equal part for each corner unless `stop` ends each; `rest` is its.

    `enough` also ends the corner that is being searched.
    """
    _check_grid(memory_shares, budgets)
    budgets = _budgets(problem) if budgets is None else budgets
    corners = (1 + len(memory_shares)) * len(budgets)
    ends = AnyOf((stop or MaxSeconds(seconds / corners), Asked(enough)))
    return pareto_front(problem, memory_shares, budgets, ends, enough=enough, **rest)


def _check_grid(shares: Sequence[float], budgets: Sequence[float] | None) -> None:
    found = []
    if not shares or not all(isinstance(share, Real) and 0 < share <= 1 for share in shares):
        found.append(f"Memory shares {tuple(shares)} were asked: give shares above 0, at most 1.")
    if budgets is not None and (not budgets or not all(isinstance(b, Real) and 0 <= b < inf for b in budgets)):
        found.append(f"Losses of quality {tuple(budgets)} were asked: give numbers from 0, or None for a grid.")
    if found:
        raise PlanError(" ".join(found))


def _budgets(problem: PlanningProblem) -> tuple[float, ...]:
    """Return losses of quality from the least to the most that the problem allows."""
    per_precision = [sum(problem.penalty(block, p) for block in problem.blocks) for p in problem.precisions]
    most = max(per_precision) if problem.quality_budget is None else min(max(per_precision), problem.quality_budget)
    least = min(per_precision)
    if most <= least:
        return (most,)
    return tuple(least + (most - least) * share for share in (0.0, 0.25, 0.5, 0.75, 1.0))
