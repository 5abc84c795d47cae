"""A search that goes on from an earlier plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmdist.bench._planner_suite import SUITE
from llmdist.bench.random_problems import random_problem
from llmdist.events import IterationFinished
from llmdist.planner import Assignment, MaxIterations, PlanningProblem, PlanResult, solve
from llmdist.planner.solve import search
from llmdist.planner.tables import cost_tables
from llmdist.planner.warm import start_choice, start_trail

FEW = MaxIterations(2)


def first(problem: PlanningProblem, start: PlanResult | None) -> float:
    """Return the best objective before the first iteration."""
    events = search(problem, 1, FEW, start=start)
    return next(event.best for event in events if isinstance(event, IterationFinished))


def test_with_less_memory_a_warm_search_begins_where_a_cold_one_ends() -> None:
    """70B on a 4090 with a tenth less memory: the first plan is within 2 % of a long search's, a cold one's is not."""
    problem = SUITE["70b-4090-mixed"]()
    before = solve(problem, stop=MaxIterations(30))
    less = problem.with_caps({"cuda:0": int(0.9 * before.prediction.peak_bytes["cuda:0"])})
    found = solve(less, 1, MaxIterations(10), start=before)
    assert found.prediction.peak_bytes["cuda:0"] <= less.cap("cuda:0")
    assert first(less, before) <= 1.02 * found.objective_seconds < first(less, None)


def test_the_same_problem_is_at_least_as_good_from_its_own_plan() -> None:
    """One iteration from a plan of the same problem keeps that plan or betters it."""
    problem = SUITE["13b-3060-mixed"]()
    before = solve(problem, stop=MaxIterations(10))
    assert solve(problem, 3, MaxIterations(0), start=before).objective_seconds <= before.objective_seconds * (1 + 1e-9)


def test_an_option_that_is_gone_becomes_the_likest() -> None:
    """Without int8 a block keeps its devices; its trail starts anew, that of a lock's neighbours stays."""
    problem = SUITE["13b-3060-mixed"]()
    before = solve(problem, stop=FEW)
    tables = cost_tables(replace(problem, precisions=("bf16", "int4")))
    choice, trail = start_choice(tables, before), start_trail(tables, before, 0.01)
    assert choice is not None and trail is not None
    now = tables.placement(choice)
    pairs = zip(now.assignments, before.placement.assignments, strict=True)
    assert all(new.exec_device == old.exec_device for new, old in pairs)
    assert np.all(trail[tables.valid] == 0.5)
    lock = {problem.blocks[1].name: Assignment("cpu", "cpu", "bf16")}
    locked = cost_tables(replace(problem, locks=lock))
    kept = start_trail(locked, before, 0.01)
    assert kept is not None and kept[1, 0] == 0.5 and len(np.unique(kept[3:5])) > 2


def test_a_plan_of_another_model_is_ignored() -> None:
    """Nothing is taken over from a plan whose blocks have other names."""
    other = solve(random_problem(1, blocks=6), stop=FEW)
    tables = cost_tables(random_problem(2, blocks=7))
    assert start_choice(tables, other) is None and start_trail(tables, other, 0.01) is None
    assert solve(random_problem(2, blocks=7), stop=FEW, start=other).placement.blocks == tuple(
        block.name for block in tables.problem.blocks
    )
