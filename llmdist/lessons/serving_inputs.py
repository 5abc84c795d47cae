"""Lesson 8, what goes into the simulator: requests, a server, and what one of its steps costs.

Iteration-level scheduling is Orca's (Yu et al., OSDI 2022), pages are vLLM's (Kwon et al., SOSP 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import PlanError

__all__ = ["Request", "Server", "StepCost", "requests"]

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
    a batch is taken whole and no place is given away before its last answer ends; such a server has no limit of cache.
    """

    places: int
    iteration_level: bool = True
    cache_tokens: int | None = None
    page: int = 16
    context: int = 2048

    def __post_init__(self) -> None:
        if self.places < 1 or not 1 <= self.page <= self.context:
            raise PlanError(f"{self} cannot serve: give at least one place, and a page of 1 to {self.context} tokens.")
        if self.cache_tokens is None:
            return
        if self.cache_tokens < self.held(self.context) or not self.iteration_level:
            raise PlanError(f"{self} cannot serve: its cache must hold one context, with iteration-level batching.")

    def held(self, tokens: int) -> int:
        """Return the cache that `tokens` take, in tokens of whole pages."""
        return -(-tokens // self.page) * self.page

    @property
    def read_price(self) -> float:
        """Return how much slower the cache is read for looking up its pages; 1 where a sequence has only one."""
        return PAGE_PRICE if self.page < self.context else 1.0


def requests(count: int, rate: float, seed: int = 0, prompt: int = 100, new: int = 150) -> tuple[Request, ...]:
    """Return `count` made-up requests, `rate` a second: Poisson arrivals, exponential lengths with these means.

    The same seed gives the same requests at every rate, only closer together. No length is over six times its mean.
    """
    if not rate > 0:
        raise PlanError(f"{rate} requests a second were asked: ask for more than 0.")
    drawn = np.random.default_rng(seed).exponential(size=(count, 3))
    lengths = 1 + np.minimum(drawn[:, 1:], 6) * (prompt, new)
    return tuple(
        Request(float(at), int(lengths[i, 0]), int(lengths[i, 1])) for i, at in enumerate(drawn[:, 0].cumsum() / rate)
    )
