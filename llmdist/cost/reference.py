"""The timing of one placement in plain Python, event by event: what the fast version must equal."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .memory import needs_slot
from .timing import (
    Step,
    bus_bytes,
    compute_seconds,
    copied_bytes,
    copy_seconds,
    decode_step,
    demand_seconds,
    host_seconds,
    prefill_step,
    transfer_table,
)

if TYPE_CHECKING:
    from ..model.blocks import Block
    from ..planner.placement import Assignment, Placement
    from ..planner.problem import PlanningProblem

__all__ = ["MAXIMUM_TOKENS", "TOLERANCE", "busy_seconds", "objective_seconds", "tpot_seconds", "ttft_seconds"]

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
    transfers: dict[tuple[str, str], float]
    now: float = 0.0
    ends: list[float] = field(default_factory=list)


def _prefetched(block: Block, assignment: Assignment) -> bool:
    return needs_slot(block, assignment) and not assignment.on_demand


def _machine(problem: PlanningProblem, placement: Placement, step: Step) -> _Machine:
    counts: dict[str, int] = {}
    for block, assignment in zip(problem.blocks, placement.assignments, strict=True):
        if _prefetched(block, assignment):
            counts[assignment.exec_device] = counts.get(assignment.exec_device, 0) + 1
    slots = {name: min(problem.slots, count) for name, count in counts.items()}
    lanes = {name: _Lane(deque([0.0] * count)) for name, count in slots.items()}
    return _Machine(lanes, transfer_table(problem, step))


def _run_token(problem: PlanningProblem, placement: Placement, machine: _Machine, step: Step) -> None:
    """Advance the machine by one pass through the chain."""
    previous = placement.assignments[0].exec_device
    for block, assignment in zip(problem.blocks, placement.assignments, strict=True):
        machine.now += machine.transfers[previous, assignment.exec_device]
        previous = assignment.exec_device
        lane = None
        if _prefetched(block, assignment):
            lane = machine.lanes[assignment.exec_device]
            begin = max(lane.free, lane.slots.popleft())
            lane.free = begin + copy_seconds(problem, block, assignment, step)
            machine.now = max(machine.now, lane.free)
        machine.now += compute_seconds(problem, block, assignment, step)
        machine.now += demand_seconds(problem, block, assignment, step)
        if lane is not None:
            lane.slots.append(machine.now)
    machine.ends.append(machine.now)


def busy_seconds(problem: PlanningProblem, placement: Placement, step: Step) -> dict[str, float]:
    """Return the seconds of one pass that each resource is busy: ``lane D``, ``disk D``, ``bus D``, ``stage D``.

    A stage is one exec device: what it computes and waits for, and the activations that it receives.
    """
    busy: dict[str, float] = defaultdict(float)
    transfers = transfer_table(problem, step)
    kinds = {device.name: device for device in problem.devices}
    previous = placement.assignments[0].exec_device
    for block, choice in zip(problem.blocks, placement.assignments, strict=True):
        stage = f"stage {choice.exec_device}"
        busy[stage] += transfers[previous, choice.exec_device]
        busy[stage] += compute_seconds(problem, block, choice, step) + demand_seconds(problem, block, choice, step)
        previous = choice.exec_device
        host = problem.host(choice.exec_device)
        if host is not None:
            if host.name != choice.exec_device:
                busy[f"stage {host.name}"] += host_seconds(problem, block, choice, step)
            if host.bus_bandwidth:
                busy[f"bus {host.name}"] += bus_bytes(problem, block, choice, step)[1] / host.bus_bandwidth
        if needs_slot(block, choice):
            busy[f"lane {choice.exec_device}"] += copy_seconds(problem, block, choice, step)
        link = problem.link(choice.home_device, choice.exec_device)
        if kinds[choice.home_device].kind == "disk" and link is not None:
            busy[f"disk {choice.home_device}"] += copied_bytes(problem, block, choice, step) / link.bandwidth
    return dict(busy)


def _chain(problem: PlanningProblem, placement: Placement, step: Step) -> float:
    transfers, total = transfer_table(problem, step), 0.0
    previous = placement.assignments[0].exec_device
    for block, assignment in zip(problem.blocks, placement.assignments, strict=True):
        total += transfers[previous, assignment.exec_device] + compute_seconds(problem, block, assignment, step)
        total += demand_seconds(problem, block, assignment, step)
        previous = assignment.exec_device
    return total


def _floor(problem: PlanningProblem, placement: Placement, step: Step) -> float:
    """Return what no schedule can beat: the chain itself and the busiest lane, disk or memory bus."""
    busy = busy_seconds(problem, placement, step)
    shared = [seconds for name, seconds in busy.items() if not name.startswith("stage")]
    return max([_chain(problem, placement, step), *shared])


def _pass_seconds(problem: PlanningProblem, placement: Placement) -> float:
    """Return the steady-state seconds per decode pass: tokens are run until the period no longer changes."""
    step = decode_step(problem)
    floor = _floor(problem, placement, step)
    if floor == float("inf"):
        return floor
    machine = _machine(problem, placement, step)
    periods: list[float] = []
    for token in range(MAXIMUM_TOKENS):
        _run_token(problem, placement, machine, step)
        if token:
            periods.append(machine.ends[-1] - machine.ends[-2])
        if len(periods) > 2 and max(periods[-3:]) - min(periods[-3:]) <= TOLERANCE * floor:
            return max(floor, periods[-1])
    half = MAXIMUM_TOKENS // 2
    return max(floor, (machine.ends[-1] - machine.ends[-1 - half]) / half)


def tpot_seconds(problem: PlanningProblem, placement: Placement) -> float:
    """Return the seconds per output token of one sequence."""
    return _pass_seconds(problem, placement) / problem.workload.accepted


def ttft_seconds(problem: PlanningProblem, placement: Placement) -> float:
    """Return the seconds to the first token: one pass over the prompt from a cold start."""
    step = prefill_step(problem)
    machine = _machine(problem, placement, step)
    _run_token(problem, placement, machine, step)
    return max(machine.ends[0], _floor(problem, placement, step))


def objective_seconds(problem: PlanningProblem, placement: Placement) -> float:
    """Return TPOT, the time to finish, or the mean time between tokens of a full pipeline, as the problem asks."""
    if problem.objective == "throughput":
        busiest = max(busy_seconds(problem, placement, decode_step(problem)).values())
        alone = _pass_seconds(problem, placement) / problem.workload.in_flight
        return max(busiest, alone) / problem.workload.accepted
    tpot = tpot_seconds(problem, placement)
    if problem.objective == "latency":
        return tpot
    return ttft_seconds(problem, placement) + max(0, problem.workload.new_tokens - 1) * tpot
