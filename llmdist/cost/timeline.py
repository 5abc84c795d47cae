"""The copies and computes of one token on a common clock, predicted by the cost model or as measured.

`predicted_timeline` walks the same event graph as `reference` and keeps what it walks; `measured_timeline`
puts a token's records into the same form, so one picture shows both. Time 0 is where the first block begins; the
price of the pass before it, and copies that ran ahead, behind the token before, have negative times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .memory import needs_slot
from .timing import compute_seconds, copy_seconds, decode_step, demand_seconds, host_seconds, transfer_seconds

if TYPE_CHECKING:
    from ..events import TokenProduced
    from ..model.blocks import Block
    from ..planner.placement import Assignment, Placement
    from ..planner.problem import PlanningProblem

__all__ = ["Span", "Timeline", "measured_timeline", "predicted_timeline"]

WARM_UP_TOKENS = 12


@dataclass(frozen=True, slots=True)
class Span:
    """One block on one lane. `kind` is ``compute``, ``copy``, ``wait`` (for its weights) or ``transfer``.

    ``pass`` is the fixed price of a pass, paid before its first block.
    """

    block: str
    lane: str
    kind: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """One token. `lanes` are exec devices and, as ``copy DEVICE``, the copies to them; `seconds` is its length."""

    spans: tuple[Span, ...]
    seconds: float

    @property
    def lanes(self) -> tuple[str, ...]:
        """Return the lanes in the order of their first span, the computing ones first."""
        names = dict.fromkeys(span.lane for span in self.spans)
        return tuple(sorted(names, key=lambda name: name.startswith("copy ")))

    def waiting_seconds(self) -> float:
        """Return the seconds in which a block waited for its weights."""
        return self._seconds_of("wait")

    def pass_seconds(self) -> float:
        """Return the fixed price of the pass, where it is known: in a predicted token."""
        return self._seconds_of("pass")

    def _seconds_of(self, kind: str) -> float:
        return sum(span.end_seconds - span.start_seconds for span in self.spans if span.kind == kind)


def _prefetched(block: Block, choice: Assignment) -> bool:
    return needs_slot(block, choice) and not choice.on_demand


def _copies(problem: PlanningProblem, placement: Placement) -> dict[str, deque[float]]:
    """Return per exec device when each of its slots is free, at the start."""
    streamed = [
        choice.exec_device
        for block, choice in zip(problem.blocks, placement.assignments, strict=True)
        if _prefetched(block, choice)
    ]
    return {name: deque([0.0] * min(problem.slots, streamed.count(name))) for name in dict.fromkeys(streamed)}


def predicted_timeline(problem: PlanningProblem, placement: Placement) -> Timeline:
    """Return the steady-state token that the cost model predicts for `placement`.

    Notes
    -----
    The last of a dozen tokens is kept: the copies at its head then run behind the tail of the token before. A
    busiest disk that serves several lanes can make the real period longer than this walk.
    """
    step = decode_step(problem)
    slots, free = _copies(problem, placement), dict.fromkeys((c.exec_device for c in placement.assignments), 0.0)
    now, spans, first = 0.0, list[Span](), 0.0
    for _ in range(WARM_UP_TOKENS):
        previous = placement.assignments[0].exec_device
        spans, before = [], now
        for block, choice in zip(problem.blocks, placement.assignments, strict=True):
            device = choice.exec_device
            arrived = now + transfer_seconds(problem, previous, device, step)
            spans.append(Span(block.name, device, "transfer", now, arrived))
            previous, now = device, arrived
            lane = slots[device] if _prefetched(block, choice) else None
            if lane is not None:
                begin = max(free[device], lane.popleft())
                free[device] = begin + copy_seconds(problem, block, choice, step)
                spans.append(Span(block.name, f"copy {device}", "copy", begin, free[device]))
                now = max(now, free[device])
            demanded = now + demand_seconds(problem, block, choice, step)
            if block.kind == "embed":
                arrived += problem.pass_seconds
                spans.append(Span(block.name, device, "pass", now, arrived))
            spans.append(Span(block.name, device, "wait", arrived, demanded))
            now = demanded + compute_seconds(problem, block, choice, step)
            spans.append(Span(block.name, device, "compute", demanded, now))
            host = problem.host(device) if choice.cpu_eighths else None
            if host is not None:  # its part of a split block, beside the device's
                ended = demanded + host_seconds(problem, block, choice, step)
                spans.append(Span(block.name, host.name, "compute", demanded, ended))
            if lane is not None:
                lane.append(now)
        first = before
    zero = max([first, *(span.end_seconds for span in spans if span.kind == "pass")])
    return _from(spans, zero, now - first)


def measured_timeline(token: TokenProduced) -> Timeline:
    """Return the copies and computes of `token` as the engine recorded them; gaps before a streamed block are waits."""
    devices = {done.block: done.device for done in token.computes}
    spans = [
        Span(c.block, f"copy {devices.get(c.block, 'cpu')}", "copy", c.start_seconds, c.end_seconds)
        for c in token.copies
    ]
    copied = {c.block for c in token.copies}
    before: float | None = None
    for done in token.computes:
        if before is not None and done.block in copied:
            spans.append(Span(done.block, done.device, "wait", before, done.start_seconds))
        spans.append(Span(done.block, done.device, "compute", done.start_seconds, done.end_seconds))
        before = done.end_seconds
    if before is None:
        return Timeline((), token.step_seconds)
    return _from(spans, token.computes[0].start_seconds, before - token.computes[0].start_seconds)


def _from(spans: Iterable[Span], zero: float, seconds: float) -> Timeline:
    kept = tuple(
        Span(s.block, s.lane, s.kind, s.start_seconds - zero, s.end_seconds - zero)
        for s in spans
        if s.end_seconds > s.start_seconds
    )
    return Timeline(kept, seconds)
