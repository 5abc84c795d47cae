"""The Pareto front: no plan dominates another, each keeps its caps, and looser corners are not slower."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmdist.bench.random_problems import random_problem
from llmdist.errors import InfeasibleError, PlanError
from llmdist.planner import MaxIterations, violations
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
