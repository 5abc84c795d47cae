"""The Pareto front: no plan dominates another, each keeps its caps, and looser corners are not slower."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmdist.bench.random_problems import random_problem
from llmdist.errors import InfeasibleError, PlanError
from llmdist.planner import ColonyParameters, MaxIterations, violations
from llmdist.planner.pareto import pareto_front


def test_no_plan_of_the_front_is_beaten_in_all_three_respects() -> None:
    """Speed, memory and quality: along the front, what is slower needs less memory or loses less quality."""
    problem = replace(random_problem(4, blocks=10), precisions=("bf16", "int4"), quality_budget=None)
    front = pareto_front(problem, (0.5, 1.0), (0.0, 0.5, 1.0), MaxIterations(6))
    assert len(front) >= 3
    for one in front:
        assert violations(problem, one.plan.placement) == []
        assert not any(other.dominates(one) for other in front)
    assert [one.seconds for one in front] == sorted(one.seconds for one in front)
    assert max(one.penalty for one in front) > min(one.penalty for one in front)
    assert max(one.memory_bytes for one in front) > min(one.memory_bytes for one in front)


def test_a_front_of_nothing_says_why() -> None:
    """A share outside 0..1 and a grid without any plan are one sentence each."""
    problem = random_problem(1, blocks=6)
    with pytest.raises(PlanError, match="shares"):
        pareto_front(problem, (0.0, 2.0))
    cpu = tuple(device for device in problem.devices if device.kind == "cpu")
    bare = replace(problem, devices=cpu, links=(), caps={"cpu": 1000})
    with pytest.raises(InfeasibleError, match="bytes more"):
        pareto_front(bare, (0.5, 1.0), stop=MaxIterations(3))


def test_a_front_is_numbered_and_says_which_plan_is_in_force() -> None:
    """Table and numbers are those of the plans themselves; a wrong number is one sentence."""
    front = pareto_front(random_problem(4, blocks=8), (0.6,), stop=MaxIterations(4))
    table = front.summary(front[0].plan).splitlines()
    assert table[2].startswith("-> ") and table[2].split()[1:3] == ["1", front[0].cells()[0]]
    assert front.numbered(1) is front[0].plan and front.number_of(front[-1].plan) == len(front)
    assert front.number_of(None) is None
    with pytest.raises(PlanError, match=f"give a number from 1 to {len(front)}"):
        front.numbered(len(front) + 1)


def test_a_search_that_was_stopped_keeps_the_plans_so_far() -> None:
    """Once enough was found no further corner is begun."""
    problem = replace(random_problem(4, blocks=8), precisions=("bf16", "int4"))
    assert len(pareto_front(problem, stop=MaxIterations(2), enough=lambda: True)) == 1


def test_wrong_grids_and_parameters_are_named_together() -> None:
    """Every violation of one call stands in one message."""
    with pytest.raises(PlanError, match=r"Memory shares.*Losses of quality"):
        pareto_front(random_problem(1, blocks=6), (0.0,), (-1.0,))
    with pytest.raises(PlanError, match=r"ants is 0.*evaporation is 2"):
        ColonyParameters(ants=0, evaporation=2)
    with pytest.raises(PlanError, match="theta is nan"):
        ColonyParameters(theta=float("nan"))
