"""Two checks of the planner: small problems against the exact optimum, and a large one against the clock."""

from __future__ import annotations

import time

import numpy as np

from ..cost.reference import objective_seconds
from ..cost.vectorised import Batch
from ..errors import InfeasibleError
from ..events import IterationFinished
from ..planner import MaxIterations, MaxSeconds, PlanningProblem, solve
from ..planner.baselines import random_choices
from ..planner.exact import enumerate_optimum
from ..planner.solve import search
from ..planner.tables import cost_tables
from .large_problem import large_problem
from .random_problems import random_problem

__all__ = ["large", "small"]

TOLERANCE = 1e-9
ITERATIONS = 60
ANTS, SCALAR = 512, 12
SECONDS, LONG_SECONDS = 2.0, 10.0


def small(count: int, blocks: int = 6) -> str:
    """Return how bound, exact optimum and colony (60 iterations) stand to each other on random problems."""
    gaps: list[float] = []
    out_of_order, seed = 0, -1
    while len(gaps) < count:
        seed += 1
        problem = random_problem(seed, blocks)
        try:
            _, optimum = enumerate_optimum(cost_tables(problem))
        except InfeasibleError:  # nothing fits under the caps: no optimum to compare with
            continue
        plan = solve(problem, stop=MaxIterations(ITERATIONS))
        out_of_order += plan.bound_seconds > optimum * (1 + TOLERANCE)
        out_of_order += plan.objective_seconds < optimum * (1 - TOLERANCE)
        gaps.append(plan.objective_seconds / optimum - 1)
    exact = sum(gap < TOLERANCE for gap in gaps)
    return (
        f"{count} random problems of {blocks} blocks: bound <= exact <= colony out of order {out_of_order} times, "
        f"colony exact on {exact}, worst gap {max(gaps):.2%}"
    )


def _trace(problem: PlanningProblem, seed: int, seconds: float) -> list[tuple[float, float]]:
    events = search(problem, seed, MaxSeconds(seconds), clock=time.process_time)
    return [(event.elapsed_seconds, event.best) for event in events if isinstance(event, IterationFinished)]


def large(seeds: int = 3) -> str:
    """Return, for 80 layers, evaluations per second and the seconds until the plan is within 1 % of a long search's.

    Seconds are processor time. The long search takes 10 s, those that are timed have 2 s and seeds of their own.
    """
    problem = large_problem()
    tables = cost_tables(problem)
    choices = random_choices(tables, ANTS, np.random.default_rng(0))
    started, rounds = time.process_time(), 0
    while time.process_time() - started < 1.0:
        Batch(tables, choices).objective.sum()
        rounds += 1
    fast = rounds * ANTS / (time.process_time() - started)
    started = time.process_time()
    for choice in choices[:SCALAR]:
        objective_seconds(problem, tables.placement(choice))
    slow = SCALAR / (time.process_time() - started)
    final = _trace(problem, 0, LONG_SECONDS)[-1][1]
    reached = []
    for seed in range(1, seeds + 1):
        close = (at for at, best in _trace(problem, seed, SECONDS) if best <= final * 1.01)
        reached.append(next(close, float("inf")))
    options = tables.valid.sum(1)
    return (
        f"{len(problem.blocks)} blocks x {options.min()} to {options.max()} options: {fast:.0f} evaluations a second, "
        f"{fast / slow:.0f} times the event-by-event reference; within 1 % of the plan of {LONG_SECONDS:g} s after "
        + ", ".join(f"{at:.2f}" for at in reached)
        + " s"
    )
