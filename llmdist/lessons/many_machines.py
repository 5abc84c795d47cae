"""Lesson 8, several machines: what crosses the network for one token, and who works while it travels.

Everything here is the planner's cost model on machines of the catalog: simulated. llmdist runs on one machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from ..cost.reference import objective_seconds
from ..cost.timing import ACTIVATION_BYTES, compute_seconds, decode_step, demand_seconds, transfer_table
from ..hardware import catalog
from ..model import shapes
from ..planner import MaxIterations, Placement, PlanningProblem, PlanResult, solve
from ..planner.build import build_problem

__all__ = ["Crossing", "Visit", "computers", "crossing", "over", "placed", "relay", "tokens_per_second"]


def placed(
    model: str = "llama-2-13b", machine: str = "four-1g", precision: str = "int8", in_flight: int = 1
) -> PlanResult:
    """Return the planner's answer for one sequence (fastest token), or for `in_flight` of them (most tokens)."""
    made = build_problem(shapes.shape(model), catalog.machine(machine), precision=precision, context=1024)
    workload = replace(made.workload, in_flight=in_flight)
    objective = "throughput" if in_flight > 1 else "latency"
    return solve(replace(made, workload=workload, objective=objective), stop=MaxIterations(60), simulated=True)


def computers(placement: Placement) -> tuple[str, ...]:
    """Return the machines that a token visits, in order; one may come twice. The only machine has an empty name."""
    names = [choice.exec_device.rpartition("/")[0] for choice in placement.assignments]
    return (names[0], *(after for before, after in pairwise(names) if before != after))


@dataclass(frozen=True, slots=True)
class Crossing:
    """What one pass sends over the network: `hops` from machine to machine, bytes and seconds of all of them."""

    hops: int
    bytes: int
    seconds: float


def crossing(made: PlanningProblem, placement: Placement, tokens: int = 1) -> Crossing:
    """Return what the network carries when `tokens` pass through together; the way back of the token is not counted."""
    size = made.hidden_size * ACTIVATION_BYTES * tokens
    links = [made.link(f"{source}/cpu", f"{target}/cpu") for source, target in pairwise(computers(placement))]
    seconds = sum(link.latency_seconds + size / link.bandwidth for link in links if link is not None)
    return Crossing(len(links), size * len(links), seconds)


def over(made: PlanningProblem, machine: str) -> PlanningProblem:
    """Return the same problem over the links of another machine of the catalog with the same devices."""
    return replace(made, links=catalog.machine(machine).links)


def tokens_per_second(made: PlanningProblem, placement: Placement, in_flight: int) -> float:
    """Return the tokens per second of all sequences when `in_flight` are under way at once."""
    workload = replace(made.workload, in_flight=in_flight)
    return 1 / objective_seconds(replace(made, workload=workload, objective="throughput"), placement)


@dataclass(frozen=True, slots=True)
class Visit:
    """One token of `sequence` on one device, seconds from the start."""

    sequence: int
    device: str
    start: float
    end: float


def relay(made: PlanningProblem, placement: Placement, sequences: int, tokens: int = 4) -> tuple[Visit, ...]:
    """Return who computes when: `sequences` make `tokens` each, and a device serves who is there first.

    Only where every block is resident: copies are not in this picture.
    """
    legs = _legs(made, placement)
    ready, step = [0.0] * sequences, [0] * sequences
    free = dict.fromkeys((device for device, _, _ in legs), 0.0)
    visits = []
    while any(at < tokens * len(legs) for at in step):
        due = {
            s: max(ready[s] + legs[step[s] % len(legs)][1], free[legs[step[s] % len(legs)][0]])
            for s in range(sequences) if step[s] < tokens * len(legs)
        }  # fmt: skip
        sequence = min(due, key=lambda s: (due[s], ready[s], s))
        device, _, seconds = legs[step[sequence] % len(legs)]
        visits.append(Visit(sequence, device, due[sequence], due[sequence] + seconds))
        ready[sequence] = free[device] = due[sequence] + seconds
        step[sequence] += 1
    return tuple(visits)


def _legs(made: PlanningProblem, placement: Placement) -> list[tuple[str, float, float]]:
    """Return (device, seconds of the way there, seconds of computing) in the order of a pass."""
    step, transfers = decode_step(made), transfer_table(made, decode_step(made))
    legs: list[tuple[str, float, float]] = []
    for block, choice in zip(made.blocks, placement.assignments, strict=True):
        seconds = compute_seconds(made, block, choice, step) + demand_seconds(made, block, choice, step)
        device = choice.exec_device
        if legs and legs[-1][0] == device:
            legs[-1] = (device, legs[-1][1], legs[-1][2] + seconds)
        else:
            legs.append((device, transfers[legs[-1][0], device] if legs else 0.0, seconds))
    return legs
