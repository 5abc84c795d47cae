"""Properties of the planning problem on sizes that can be enumerated: what can only help never hurts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdist.bench.random_problems import random_problem, rich_problem
from llmdist.cost.vectorised import Batch
from llmdist.errors import InfeasibleError
from llmdist.planner import MaxIterations, PlanningProblem, solve
from llmdist.planner.baselines import random_choices
from llmdist.planner.bound import Relaxation
from llmdist.planner.exact import enumerate_optimum
from llmdist.planner.tables import cost_tables

SEEDS = st.integers(0, 10_000)
FEW = settings(max_examples=12, deadline=None, derandomize=True)


def optimum(problem: PlanningProblem) -> float:
    """Return the exact optimum, infinite where nothing fits."""
    try:
        return enumerate_optimum(cost_tables(problem))[1]
    except InfeasibleError:
        return float("inf")


def precise(problem: PlanningProblem) -> PlanningProblem:
    """Return the problem with two precisions and a quality budget."""
    return replace(problem, precisions=("bf16", "int4"), quality_budget=0.4)


@FEW
@given(SEEDS, st.floats(1.0, 3.0))
def test_more_memory_never_makes_the_best_plan_worse(seed: int, factor: float) -> None:
    """Every cap times a factor keeps or improves the optimum."""
    problem = random_problem(seed, blocks=5)
    larger = problem.with_caps({name: int(cap * factor) for name, cap in problem.caps.items()})
    assert optimum(larger) <= optimum(problem) * (1 + 1e-9)


@FEW
@given(SEEDS, st.floats(1.0, 4.0))
def test_faster_links_never_make_the_best_plan_worse(seed: int, factor: float) -> None:
    """Every bandwidth times a factor keeps or improves the optimum."""
    problem = random_problem(seed, blocks=5)
    links = tuple(replace(link, bandwidth=link.bandwidth * factor) for link in problem.links)
    assert optimum(replace(problem, links=links)) <= optimum(problem) * (1 + 1e-9)


@FEW
@given(SEEDS, st.floats(0.0, 1.0))
def test_a_lower_penalty_never_makes_the_best_plan_worse(seed: int, factor: float) -> None:
    """Cheaper loss of quality keeps or improves the optimum under a quality budget."""
    problem = precise(random_problem(seed, blocks=4))
    milder = replace(problem, penalties={name: value * factor for name, value in problem.penalties.items()})
    assert optimum(milder) <= optimum(problem) * (1 + 1e-9)


@FEW
@given(SEEDS)
def test_no_cost_is_negative(seed: int) -> None:
    """Seconds, bytes and floors of random placements of the full problem are at least 0, and the bound is below."""
    problem = rich_problem(seed, 2)
    tables = cost_tables(problem)
    batch = Batch(tables, random_choices(tables, 64, np.random.default_rng(seed)))
    assert (batch.objective > 0).all() and (batch.peak >= 0).all() and (batch.floor >= 0).all()
    linear = Relaxation(tables).linear()
    fitting = batch.objective[batch.over == 0]
    assert linear.infeasible is False or not len(fitting)
    assert not len(fitting) or 0 <= linear.bound <= fitting.min() * (1 + 1e-9)


@FEW
@given(SEEDS)
def test_the_full_problem_keeps_bound_optimum_and_colony_in_order(seed: int) -> None:
    """With experts, splits and precisions too: bound <= optimum <= colony, and the colony within 2 %."""
    problem = replace(rich_problem(seed, 1), split_eighths=(3,), precisions=("bf16", "int4"))
    tables = cost_tables(problem)
    if np.prod(tables.valid.sum(1).astype(float)) > 60_000:
        return
    best = optimum(problem)
    if not np.isfinite(best):
        return
    plan = solve(problem, stop=MaxIterations(40))
    assert plan.bound_seconds <= best * (1 + 1e-6)
    assert best * (1 - 1e-9) <= plan.objective_seconds <= best * 1.02
