"""Lesson 8, the simulator: requests arrive, a server takes them step by step, and its KV cache is given out in pages.

A discrete-event simulation: nothing is computed by a model, only the clock moves. What a step costs is given from
outside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import PlanError
from .serving_inputs import Request, Server, StepCost

__all__ = ["Held", "Run", "Served", "simulate"]


@dataclass(frozen=True, slots=True)
class Served:
    """One answered request: when it got a place, when its answer ended and when the place was free again."""

    request: Request
    start: float
    end: float
    freed: float

    @property
    def latency(self) -> float:
        """Return the seconds from arrival to the last token."""
        return self.end - self.request.arrival


@dataclass(frozen=True, slots=True)
class Held:
    """The cache after one step, in tokens: what is `used`, and what is `held` for it."""

    time: float
    sequences: int
    used: int
    held: int


@dataclass(frozen=True, slots=True)
class Run:
    """A simulated run: every request as it was served, in order of arrival, and the cache after every step."""

    served: tuple[Served, ...]
    memory: tuple[Held, ...]
    sent_back: int  # times a sequence lost its pages to others and had to be read again

    @property
    def waste(self) -> float:
        """Return the mean share of the held cache that holds no token."""
        return 1 - sum(m.used for m in self.memory) / sum(m.held for m in self.memory)

    def within(self, limit: float) -> float:
        """Return the share of requests whose answer ended within `limit` seconds of their arrival."""
        return sum(served.latency <= limit for served in self.served) / len(self.served)


@dataclass(slots=True)
class _Sequence:
    index: int
    request: Request
    start: float = -1.0
    made: int = 0
    end: float = -1.0
    fresh: bool = True  # its prompt, and what it had made before it was sent back, must be read

    @property
    def tokens(self) -> int:
        return self.request.prompt_tokens + self.made


def simulate(arriving: Sequence[Request], cost: StepCost, server: Server) -> Run:
    """Return how `server` answers `arriving` requests, in order of arrival, when a step costs `cost`."""
    if any(request.prompt_tokens + request.new_tokens > server.context for request in arriving):
        raise PlanError(f"A request is longer than the context of {server.context}: shorten it or raise the context.")
    waiting = deque(_Sequence(i, request) for i, request in enumerate(arriving))
    running: list[_Sequence] = []
    served: dict[int, Served] = {}
    memory: list[Held] = []
    now, sent_back = 0.0, 0
    while waiting or running:
        if not running:
            now = max(now, waiting[0].request.arrival)
        if server.iteration_level or not running:
            _admit(waiting, running, server, now)
        sent_back += _make_room(waiting, running, server)
        now += _step(running, cost, server)
        for sequence in running:
            sequence.fresh = False
            if sequence.end < 0:
                sequence.made += 1
                if sequence.made == sequence.request.new_tokens:
                    sequence.end = now
        held = sum(server.held(s.tokens) for s in running)
        memory.append(Held(now, len(running), sum(s.tokens for s in running), held))
        ended = [s for s in running if s.end >= 0]
        if server.iteration_level or len(ended) == len(running):
            served |= {s.index: Served(s.request, s.start, s.end, now) for s in ended}
            running = [s for s in running if s.end < 0]
    return Run(tuple(served[i] for i in sorted(served)), tuple(memory), sent_back)


def _admit(waiting: deque[_Sequence], running: list[_Sequence], server: Server, now: float) -> None:
    """Give places to those who have arrived, first come first served, while their next token fits into the cache."""
    held = sum(server.held(s.tokens + 1) for s in running)
    while waiting and waiting[0].request.arrival <= now and len(running) < server.places:
        held += server.held(waiting[0].tokens + 1)
        if server.cache_tokens is not None and held > server.cache_tokens:
            return
        sequence = waiting.popleft()
        sequence.start = now if sequence.start < 0 else sequence.start
        running.append(sequence)


def _make_room(waiting: deque[_Sequence], running: list[_Sequence], server: Server) -> int:
    """Send the last of the running back, their cache forgotten, until every next token fits; return how many."""
    count = 0
    while server.cache_tokens is not None and sum(server.held(s.tokens + 1) for s in running) > server.cache_tokens:
        last = running.pop()
        last.fresh = True
        waiting.appendleft(last)
        count += 1
    return count


def _step(running: Sequence[_Sequence], cost: StepCost, server: Server) -> float:
    prompt = sum(s.tokens for s in running if s.fresh)
    cached = sum(s.tokens for s in running if not s.fresh)
    return cost.seconds(len(running), cached * server.read_price, prompt)
