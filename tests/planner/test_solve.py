"""The planner against its oracles: bound <= exact optimum <= colony, and never worse than the baselines."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from llmdist.bench.random_problems import random_problem, rich_problem
from llmdist.cost.memory import peak_bytes
from llmdist.cost.reference import objective_seconds
from llmdist.cost.vectorised import Batch, evaluate_many
from llmdist.errors import InfeasibleError, PlanError
from llmdist.events import IterationFinished, PlanFinished, PlanStarted, Recorder
from llmdist.planner import Assignment, MaxIterations, Placement, PlanningProblem, evaluate, solve, violations
from llmdist.planner.baselines import dynamic_programming, greedy, random_choices
from llmdist.planner.exact import enumerate_optimum
from llmdist.planner.tables import cost_tables

STOP = MaxIterations(60)


@pytest.mark.parametrize("seed", range(12))
def test_the_vectorised_evaluator_agrees_with_the_event_by_event_reference(seed: int) -> None:
    """Both evaluators give the same seconds within 1e-9."""
    problem = random_problem(seed)
    tables = cost_tables(problem)
    choices = random_choices(tables, 12, np.random.default_rng(seed))
    values, _ = evaluate_many(tables, choices)
    for choice, value in zip(choices, values, strict=True):
        assert objective_seconds(problem, tables.placement(choice)) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_the_full_problem_is_priced_and_weighed_as_by_the_reference(seed: int) -> None:
    """Splits, experts on demand, machines, buses, several tokens per pass: seconds within 1e-9, bytes within 1."""
    problem = rich_problem(seed)
    assert PlanningProblem.from_json(json.loads(json.dumps(problem.to_json()))) == problem
    tables = cost_tables(problem)
    choices = random_choices(tables, 8, np.random.default_rng(seed))
    batch = Batch(tables, choices)
    for i, choice in enumerate(choices):
        placement = tables.placement(choice)
        assert objective_seconds(problem, placement) == pytest.approx(batch.objective[i], rel=1e-9)
        assert batch.floor[i] <= batch.objective[i] * (1 + 1e-12)
        peaks = peak_bytes(problem, placement)
        assert [peaks[device.name] for device in problem.devices] == pytest.approx(batch.peak[i], abs=1)
        fits = not violations(replace(problem, locks=dict(placement.items())), placement)
        assert fits == (batch.over[i] == 0)
        assert Placement.from_json(placement.to_json()) == placement


def test_modes_that_are_not_asked_for_are_not_offered() -> None:
    """Only residents and streams by default, and a split is refused in words."""
    problem = replace(rich_problem(0), modes=("resident", "streamed"))
    assert {option.mode for block in problem.blocks for option in problem.options(block)} == {"resident", "streamed"}
    split = Assignment("cuda:0", "cuda:0", "bf16", cpu_eighths=3)
    with pytest.raises(PlanError, match="mode split is not offered"):
        cost_tables(replace(random_problem(1), locks={random_problem(1).blocks[1].name: split}))


@pytest.mark.parametrize("seed", range(50))
def test_bound_exact_colony_in_order(seed: int) -> None:
    """On a small problem the bound is below the optimum, and the colony within 1 % above it."""
    problem = random_problem(seed, blocks=6 if seed % 2 else 7)
    tables = cost_tables(problem)
    _, optimum = enumerate_optimum(tables)
    plan = solve(problem, stop=STOP)
    assert plan.bound_seconds <= optimum * (1 + 1e-9)
    assert optimum * (1 - 1e-9) <= plan.objective_seconds <= optimum * 1.01
    baselines = np.array([greedy(tables), dynamic_programming(tables)])
    values, over = evaluate_many(tables, baselines)
    assert plan.objective_seconds <= min(values[over == 0], default=np.inf) * (1 + 1e-9)
    assert violations(problem, plan.placement) == []


def test_the_same_seed_gives_the_same_plan() -> None:
    """Planning is pure: only a stop by time can change it."""
    problem = random_problem(3, blocks=20)
    first, second = (solve(problem, seed=5, stop=MaxIterations(20)) for _ in range(2))
    assert first.placement == second.placement and first.evaluations == second.evaluations


@pytest.mark.parametrize("seed", range(6))
def test_more_memory_never_makes_the_optimum_worse(seed: int) -> None:
    """Raising every cap by half keeps or improves the exact optimum."""
    problem = random_problem(seed, blocks=6)
    larger = problem.with_caps({name: int(cap * 1.5) for name, cap in problem.caps.items()})
    assert enumerate_optimum(cost_tables(larger))[1] <= enumerate_optimum(cost_tables(problem))[1] * (1 + 1e-9)


def test_events_tell_the_search_in_order() -> None:
    """Started, iterations with a falling best above the bound, finished."""
    recorder = Recorder()
    solve(random_problem(4, blocks=20), stop=MaxIterations(10), on_event=recorder)
    iterations = [event for event in recorder.events if isinstance(event, IterationFinished)]
    assert isinstance(recorder.events[0], PlanStarted) and isinstance(recorder.events[-1], PlanFinished)
    best = [event.best for event in iterations]
    assert best == sorted(best, reverse=True) and best[-1] >= iterations[-1].bound * (1 - 1e-9)
    assert all(0 <= share <= 1 for row in iterations[-1].trail for share in row)


def test_too_little_memory_says_how_many_bytes_are_missing() -> None:
    """The message holds the missing bytes, and a cap raised by them fits."""
    problem = random_problem(1).with_caps({"cpu": 1000})
    tiny = PlanningProblem(problem.blocks, tuple(d for d in problem.devices if d.kind != "cuda"),
                           (problem.links[0],), 4096, problem.workload, {"cpu": 1000})  # fmt: skip
    with pytest.raises(InfeasibleError, match=r"\((\d+) bytes more\)") as caught:
        solve(tiny, stop=STOP)
    missing = int(str(caught.value).split("(")[1].split(" bytes")[0])
    assert solve(tiny.with_caps({"cpu": 1000 + missing}), stop=STOP).prediction.peak_bytes["cpu"] <= 1000 + missing


def test_too_little_memory_says_what_would_help() -> None:
    """Fewer sequences where there are several, fewer bits and the disk where they are not allowed yet; GiB as GiB."""
    problem = random_problem(1)
    cpu = tuple(device for device in problem.devices if device.kind == "cpu")
    many = replace(problem.workload, batch=10**9)
    bare = replace(problem, devices=cpu, links=(), caps={"cpu": 1000}, workload=many, precisions=("bf16",))
    with pytest.raises(InfeasibleError, match=r"GiB more\). Raise a cap, shorten the context ") as one:
        solve(bare, stop=STOP)
    assert "take fewer sequences than 1000000000 at once" in str(one.value)
    assert str(one.value).endswith("allow int4, or allow the disk.")


@pytest.mark.parametrize("objective", ["latency", "finish", "throughput"])
def test_a_prediction_tells_the_objective_of_its_placement(objective: str) -> None:
    """What is placed by hand is rated as the search rates it, whatever it minimises."""
    problem = replace(random_problem(3), objective=objective)
    plan = solve(problem, stop=MaxIterations(3))
    assert plan.prediction.objective_seconds(problem) == pytest.approx(objective_seconds(problem, plan.placement))


def test_locks_stay() -> None:
    """A locked block keeps its assignment and the others are planned around it."""
    problem = random_problem(2)
    lock = Assignment("cpu", "disk", "bf16")
    locked = PlanningProblem.from_json({**problem.to_json(), "locks": {problem.blocks[1].name: {
        "exec_device": "cpu", "home_device": "disk", "precision": "bf16"}}})  # fmt: skip
    assert solve(locked, stop=STOP).placement[problem.blocks[1].name] == lock


def test_a_placement_of_another_model_is_refused() -> None:
    """evaluate names both shapes."""
    plan = solve(random_problem(1, blocks=6), stop=MaxIterations(3))
    with pytest.raises(PlanError, match="another model"):
        evaluate(random_problem(1, blocks=7), plan.placement)


def test_an_invalid_problem_lists_every_violation() -> None:
    """All violations stand in one message."""
    data = random_problem(1).to_json()
    data |= {"precisions": ["int3"], "slots": 0, "objective": "beauty", "caps": {"moon": 5}}
    with pytest.raises(PlanError, match=r"moon.*int3.*slots.*beauty"):
        PlanningProblem.from_json(data)
