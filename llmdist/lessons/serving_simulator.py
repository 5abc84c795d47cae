"""Lesson 8, the simulator: requests arrive, a server takes them step by step, and its KV cache is given out in pages.

A discrete-event simulation: nothing is computed by a model, only the clock moves. What a step costs is given from
outside. Iteration-level scheduling is Orca's (Yu et al., OSDI 2022), pages are vLLM's (Kwon et al., SOSP 2023).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import PlanError

__all__ = ["Held", "Request", "Run", "Served", "Server", "StepCost", "requests", "simulate"]

#: A kernel that looks its pages up read the cache 20 to 26 % slower than one without (Kwon et al. 2023, section 7.1).
PAGE_PRICE = 1.25


@dataclass(frozen=True, slots=True)
class StepCost:
    """Seconds of one step: `fixed` once, and so much more per sequence, per cached token and per prompt token."""

    fixed: float
    sequence: float
    cached_token: float
    prompt_token: float

    def seconds(self, sequences: int, cached: float = 0.0, prompt: int = 0) -> float:
        """Return the seconds of a step that gives each of `sequences` a token and reads `prompt` new prompt tokens."""
        return self.fixed + self.sequence * sequences + self.cached_token * cached + self.prompt_token * prompt


@dataclass(frozen=True, slots=True)
class Request:
    """One question: when it arrives (seconds), how long it is and how long its answer will be (tokens)."""

    arrival: float
    prompt_tokens: int
    new_tokens: int


@dataclass(frozen=True, slots=True)
class Server:
    """How a server works. `page` tokens of cache are given at a time; a page as large as `context` is contiguous.

    `places` sequences run together at most, in `cache_tokens` of cache (None: no limit). With `iteration_level` false
    a batch is taken whole and no place is given away before its last answer ends.
    """

    places: int
    iteration_level: bool = True
    cache_tokens: int | None = None
    page: int = 16
    context: int = 2048

    def __post_init__(self) -> None:
        if self.places < 1 or not 1 <= self.page <= self.context or (self.cache_tokens or self.context) < self.context:
            raise PlanError(f"{self} cannot serve: give places, 1 <= page <= context, and cache for one context.")

    def held(self, tokens: int) -> int:
        """Return the cache that `tokens` take, in tokens of whole pages."""
        return -(-tokens // self.page) * self.page

    @property
    def read_price(self) -> float:
        """Return how much slower the cache is read for looking up its pages; 1 where a sequence has only one."""
        return PAGE_PRICE if self.page < self.context else 1.0


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


def requests(count: int, rate: float, seed: int = 0, prompt: int = 100, new: int = 150) -> tuple[Request, ...]:
    """Return `count` made-up requests, `rate` a second: Poisson arrivals, exponential lengths with these means.

    The same seed gives the same requests at every rate, only closer together. No length is over six times its mean.
    """
    drawn = np.random.default_rng(seed).exponential(size=(count, 3))
    lengths = 1 + np.minimum(drawn[:, 1:], 6) * (prompt, new)
    return tuple(
        Request(float(at), int(lengths[i, 0]), int(lengths[i, 1])) for i, at in enumerate(drawn[:, 0].cumsum() / rate)
    )


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
