"""Known machines: complete, plausible, and plannable."""

from __future__ import annotations

import pytest

from llmdist.errors import HardwareError
from llmdist.hardware import machine, machines
from llmdist.model.shapes import shape
from llmdist.planner import MaxIterations, PlanningProblem, Workload, solve, violations


@pytest.mark.parametrize("name", machines())
def test_a_known_machine_says_that_it_is_nominal_and_where_its_figures_come_from(name: str) -> None:
    """Every executing device has rates, every link joins two devices, no figure is called measured."""
    profile = machine(name)
    names = {device.name for device in profile.devices}
    assert profile.source == "nominal" and len(profile.note) > 80
    assert all(d.bandwidth > 0 and d.flops > 0 and d.overhead_seconds > 0 for d in profile.devices if d.executes)
    assert all(0 < device.free_bytes < device.memory_bytes for device in profile.devices)
    assert all({link.source, link.target} <= names and link.source != link.target for link in profile.links)
    assert len({(link.source, link.target) for link in profile.links}) == len(profile.links)


@pytest.mark.parametrize("name", machines())
def test_the_ends_of_a_7b_model_can_be_planned_on_every_known_machine(name: str) -> None:
    """The planner finds a placement that breaks no cap."""
    profile, model = machine(name), shape("llama-2-7b")
    blocks = (*model.blocks[:5], model.blocks[-1])
    problem = PlanningProblem(
        blocks, profile.devices, profile.links, model.hidden_size, Workload(1, 128, 128), precisions=("fp16",)
    )
    plan = solve(problem, stop=MaxIterations(2))
    assert violations(problem, plan.placement) == []
    assert plan.prediction.tokens_per_second > 0


def test_the_four_machines_differ_only_in_their_network() -> None:
    """The slow and the fast network join the same devices."""
    slow, fast = machine("four-1g"), machine("four-10g")
    assert slow.devices == fast.devices and len(slow.devices) == 12
    rates = {(k.source, k.target): k.bandwidth for k in slow.links}
    faster = [k for k in fast.links if k.bandwidth > rates[k.source, k.target]]
    assert len(faster) == 12 and all(k.source.endswith("/cpu") and k.target.endswith("/cpu") for k in faster)


def test_an_unknown_machine_is_named_with_the_known_ones() -> None:
    """The error lists what can be chosen."""
    with pytest.raises(HardwareError, match=r"rtx9090.*rtx4090"):
        machine("rtx9090")
