"""A device that computes nothing: it runs a stream program against vector clocks and virtual time.

Vector clocks (Lamport 1978; Mattern 1989) say which operations are ordered; two that touch the same memory, one of them
writing, and are not ordered are a race. Virtual time gives every operation the seconds that the planner expects.
What this is not: a model of contention between lanes, or of the price of queueing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from ..cost.timing import (
    compute_seconds,
    copy_seconds,
    decode_step,
    demand_seconds,
    host_seconds,
    transfer_seconds,
)
from ..planner.placement import Placement
from ..planner.problem import PlanningProblem
from .stream_program import Operation, StreamProgram

__all__ = ["Race", "Span", "planned_seconds", "races", "run_virtual", "seconds_per_token"]

Clock = dict[str, int]


@dataclass(frozen=True, slots=True)
class Race:
    """Two operations that nothing orders, on the same `memory`; `second` was queued later."""

    memory: str
    first: Operation
    second: Operation


@dataclass(frozen=True, slots=True)
class Span:
    """One operation in virtual time, in seconds."""

    operation: Operation
    start: float
    end: float


@dataclass(slots=True)
class _Access:
    operation: Operation
    count: int  # of its stream, when it ran


def _merge(into: Clock, other: Clock) -> None:
    for stream, count in other.items():
        into[stream] = max(into.get(stream, 0), count)


def races(program: StreamProgram) -> list[Race]:
    """Return every race of the program; an event that is waited for before it is recorded orders nothing."""
    clocks: dict[str, Clock] = defaultdict(dict)
    events: dict[str, Clock] = {}
    writer: dict[str, _Access] = {}
    readers: dict[str, list[_Access]] = defaultdict(list)
    found = []
    for operation in program.operations:
        clock = clocks[operation.stream]
        if operation.kind == "wait":
            _merge(clock, events.get(operation.subject, {}))
        elif operation.kind == "record":
            events[operation.subject] = dict(clock)
        else:
            clock[operation.stream] = clock.get(operation.stream, 0) + 1
            access = _Access(operation, clock[operation.stream])
            for memory in operation.reads:
                found += _unordered(memory, [writer[memory]] if memory in writer else [], access, clock)
                readers[memory].append(access)
            for memory in operation.writes:
                earlier = [a for a in readers[memory] if a is not access]
                earlier += [writer[memory]] if memory in writer else []
                found += _unordered(memory, earlier, access, clock)
                writer[memory], readers[memory] = access, []
    return found


def _unordered(memory: str, earlier: list[_Access], access: _Access, clock: Clock) -> list[Race]:
    return [
        Race(memory, before.operation, access.operation)
        for before in earlier
        if clock.get(before.operation.stream, 0) < before.count
    ]


def run_virtual(program: StreamProgram, seconds: Callable[[Operation], float]) -> list[Span]:
    """Return when each operation that takes time starts and ends."""
    streams: dict[str, float] = defaultdict(float)
    events: dict[str, float] = {}
    spans = []
    for operation in program.operations:
        now = streams[operation.stream]
        if operation.kind == "wait":
            streams[operation.stream] = max(now, events.get(operation.subject, 0.0))
        elif operation.kind == "record":
            events[operation.subject] = now
        else:
            streams[operation.stream] = now + seconds(operation)
            spans.append(Span(operation, now, streams[operation.stream]))
    return spans


def planned_seconds(problem: PlanningProblem, placement: Placement) -> Callable[[Operation], float]:
    """Return the planner's own seconds of each operation of one decode step.

    Sampling is free, as in the plan, and a split block's price holds its join.
    """
    step = decode_step(problem)
    blocks = {block.name: block for block in problem.blocks}

    def seconds(operation: Operation) -> float:
        if operation.kind in ("sample", "join"):
            return 0.0
        block, choice = blocks[operation.subject], placement[operation.subject]
        if operation.kind == "transfer":
            return transfer_seconds(problem, str(operation.source), choice.exec_device, step)
        if operation.kind == "share":
            return host_seconds(problem, block, choice, step)
        if operation.kind == "compute":
            demand = demand_seconds(problem, block, choice, step)
            return compute_seconds(problem, block, choice, step) + demand
        if operation.copy is not None and operation.kind == "copy" and operation.reads[0].startswith("buffer"):
            return 0.0  # the plan prices the whole way from disk once, on the read
        return copy_seconds(problem, block, choice, step)

    return seconds


def seconds_per_token(spans: list[Span], skip: int = 2) -> float:
    """Return the steady seconds per token: the distance of samplings, the first `skip` left out."""
    ends = [span.end for span in spans if span.operation.kind == "sample"]
    return (ends[-1] - ends[skip]) / (len(ends) - 1 - skip)
