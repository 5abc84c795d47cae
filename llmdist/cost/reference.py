"""The timing of one placement in plain Python, event by event: what the fast version must equal."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .timing import (
    Step,
    compute_seconds,
    copied_bytes,
    copy_seconds,
    decode_step,
    demand_seconds,
    prefill_step,
    transfer_seconds,
)

if TYPE_CHECKING:
    from ..planner.placement import Placement
    from ..planner.problem import PlanningProblem

__all__ = ["MAXIMUM_TOKENS", "TOLERANCE", "objective_seconds", "tpot_seconds", "ttft_seconds"]

MAXIMUM_TOKENS = 16
TOLERANCE = 1e-11


@dataclass(slots=True)
class _Lane:
    """One exec device's copies: when the lane is free, and when each slot's block was computed."""

    slots: deque[float]
    free: float = 0.0


@dataclass(slots=True)
class _Machine:
    lanes: dict[str, _Lane]
    now: float = 0.0
    ends: list[float] = field(default_factory=list)


def _machine(problem: PlanningProblem, placement: Placement) -> _Machine:
    counts: dict[str, int] = {}
    for block, assignment in zip(problem.blocks, placement.assignments, strict=True):
        if assignment.mode == "streamed" and block.kind != "embed":
            counts[assignment.exec_device] = counts.get(assignment.exec_device, 0) + 1
    slots = {name: min(problem.slots, count) for name, count in counts.items()}
    return _Machine({name: _Lane(deque([0.0] * count)) for name, count in slots.items()})


def _run_token(problem: PlanningProblem, placement: Placement, machine: _Machine, step: Step) -> None:
    """Advance the machine by one pass through the chain."""
    previous = placement.assignments[0].exec_device
    for block, assignment in zip(problem.blocks, placement.assignments, strict=True):
        machine.now += transfer_seconds(problem, previous, assignment.exec_device, step)
        previous = assignment.exec_device
        lane = None
        if assignment.mode == "streamed" and block.kind != "embed":
            lane = machine.lanes[assignment.exec_device]
            begin = max(lane.free, lane.slots.popleft())
            lane.free = begin + copy_seconds(problem, block, assignment, step)
            machine.now = max(machine.now, lane.free)
        machine.now += compute_seconds(problem, block, assignment, step)
        machine.now += demand_seconds(problem, block, assignment, step)
        if lane is not None:
            lane.slots.append(machine.now)
    machine.ends.append(machine.now)


def _floor(problem: PlanningProblem, placement: Placement, step: Step) -> float:
    """Return what no schedule can beat: the chain itself, the busiest lane, the busiest disk."""
    chain = 0.0
    busy: dict[tuple[str, str], float] = {}
    disks = {device.name for device in problem.devices if device.kind == "disk"}
    previous = placement.assignments[0].exec_device
    for block, assignment in zip(problem.blocks, placement.assignments, strict=True):
        chain += transfer_seconds(problem, previous, assignment.exec_device, step)
        chain += compute_seconds(problem, block, assignment, step)
        chain += demand_seconds(problem, block, assignment, step)
        previous = assignment.exec_device
        if assignment.mode == "resident":
            continue
        if block.kind != "embed":
            lane = ("lane", assignment.exec_device)
            busy[lane] = busy.get(lane, 0.0) + copy_seconds(problem, block, assignment, step)
        link = problem.link(assignment.home_device, assignment.exec_device)
        if assignment.home_device in disks and link is not None:
            disk = ("disk", assignment.home_device)
            size = copied_bytes(problem, block, assignment, step)
            busy[disk] = busy.get(disk, 0.0) + size / link.bandwidth
    return max([chain, *busy.values()])


def tpot_seconds(problem: PlanningProblem, placement: Placement) -> float:
    """Return the steady-state seconds per token: tokens are run until the period no longer changes."""
    step = decode_step(problem)
    floor = _floor(problem, placement, step)
    if floor == float("inf"):
        return floor
    machine = _machine(problem, placement)
    periods: list[float] = []
    for token in range(MAXIMUM_TOKENS):
        _run_token(problem, placement, machine, step)
        if token:
            periods.append(machine.ends[-1] - machine.ends[-2])
        if len(periods) > 2 and max(periods[-3:]) - min(periods[-3:]) <= TOLERANCE * floor:
            return max(floor, periods[-1])
    half = MAXIMUM_TOKENS // 2
    return max(floor, (machine.ends[-1] - machine.ends[-1 - half]) / half)


def ttft_seconds(problem: PlanningProblem, placement: Placement) -> float:
    """Return the seconds to the first token: one pass over the prompt from a cold start."""
    step = prefill_step(problem)
    machine = _machine(problem, placement)
    _run_token(problem, placement, machine, step)
    return max(machine.ends[0], _floor(problem, placement, step))


def objective_seconds(problem: PlanningProblem, placement: Placement) -> float:
    """Return TPOT, or the time to finish, as the problem asks."""
    tpot = tpot_seconds(problem, placement)
    if problem.objective == "latency":
        return tpot
    return ttft_seconds(problem, placement) + max(0, problem.workload.new_tokens - 1) * tpot
