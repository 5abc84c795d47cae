"""Lesson 8: what a step costs (measured on the demo model, or from the cost model), and the load at which paging wins.

The clock of every comparison is `serving_simulator`; only `measure` runs a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from ..cost.memory import kv_bytes
from ..planner import MaxIterations, PlanResult, evaluate, plan_for
from ..session import Session
from .serving_inputs import Server, StepCost, requests
from .serving_simulator import simulate
from .verdict import Verdict, number, shown

__all__ = ["Case", "Measured", "case", "check_paging_wins", "fitted", "measure", "one_after_the_other", "share_within"]

GPU = "cuda:0"
PLACES = 64  # up to here a step of the case is bound by what it reads, so that its seconds add up


@dataclass(frozen=True, slots=True)
class Measured:
    """What the engine took for `sequences` prompts together: the pass over the prompts, then one step (median)."""

    sequences: int
    prompt_tokens: int
    prompt_seconds: float
    step_seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Return the tokens that all sequences make in a second of steps."""
        return self.sequences / self.step_seconds


def measure(session: Session, prompts: Sequence[str], sizes: Sequence[int], tokens: int = 32) -> tuple[Measured, ...]:
    """Return what `session` takes for the first n of `prompts` together, for every n of `sizes`."""
    _warm_up(session, prompts)
    found = []
    for size in sizes:
        seconds = [step.step_seconds for step in session.generate_batch(prompts[:size], tokens)]
        read = sum(len(session.tokenizer.encode(prompt)) for prompt in prompts[:size])
        found.append(Measured(size, read, seconds[0], median(seconds[1:])))
    return tuple(found)


def one_after_the_other(session: Session, prompts: Sequence[str], tokens: int = 32) -> tuple[float, float]:
    """Return the seconds for all `prompts` one after the other, and for all of them together."""
    _warm_up(session, prompts)
    alone = sum(step.step_seconds for prompt in prompts for step in session.generate_batch([prompt], tokens))
    return alone, sum(step.step_seconds for step in session.generate_batch(prompts, tokens))


def _warm_up(session: Session, prompts: Sequence[str]) -> None:
    """Start the engine, so that its start is in nobody's time."""
    list(session.generate_batch(prompts, 2))


def fitted(measured: Sequence[Measured]) -> StepCost:
    """Return the straight line through measured steps; the cache of so small a model is too little to show."""
    slope, fixed = np.polyfit([m.sequences for m in measured], [m.step_seconds for m in measured], 1)
    prompt = median((m.prompt_seconds - m.step_seconds) / m.prompt_tokens for m in measured)
    return StepCost(max(float(fixed), 1e-6), max(float(slope), 0.0), 0.0, max(float(prompt), 0.0))


@dataclass(frozen=True, slots=True)
class Case:
    """A model on a machine of the catalog, simulated: what a step costs, and the KV cache that fits beside weights."""

    plan: PlanResult
    cost: StepCost
    cache_tokens: int
    token_bytes: float
    context: int

    def server(self, page: int) -> Server:
        """Return a server with iteration-level batching that gives its cache out in pages of `page` tokens."""
        return Server(PLACES, cache_tokens=self.cache_tokens, page=page, context=self.context)


def case(shape: str = "llama-2-13b", machine: str = "rtx4090", precision: str = "int8", context: int = 2048) -> Case:
    """Return the case of `shape` wholly on the card of `machine`; its step is the planner's, taken apart."""
    plan = plan_for(shape, machine, precision=precision, context=context, stop=MaxIterations(20))
    kept = sum(kv_bytes(plan.problem, block) for block in plan.problem.blocks)
    token_bytes = kept / context
    free = plan.problem.cap(GPU) - (plan.prediction.peak_bytes[GPU] - kept)
    one, many = step_seconds(plan, 1, 2), step_seconds(plan, PLACES, 2)
    sequence = (many - one) / (PLACES - 1)
    cached = (step_seconds(plan, 16, 1024) - step_seconds(plan, 16, 2)) / (16 * 1022)
    prompt = (_evaluated(plan, 1, 512)[1] - one) / 511
    cost = StepCost(one - sequence, sequence, cached, prompt)
    return Case(plan, cost, int(free // token_bytes), token_bytes, context)


def step_seconds(plan: PlanResult, sequences: int, cached_each: int) -> float:
    """Return the planner's own seconds of a step of `sequences` with `cached_each` tokens in the cache of each."""
    return _evaluated(plan, sequences, cached_each)[0]


def _evaluated(plan: PlanResult, sequences: int, context: int) -> tuple[float, float]:
    """Return TPOT and TTFT of the plan under another load; memory is not asked."""
    workload = replace(plan.problem.workload, batch=sequences, prompt_tokens=context - 1, new_tokens=1)
    prediction = evaluate(replace(plan.problem, workload=workload), plan.placement)
    return prediction.tpot_seconds, prediction.ttft_seconds


def share_within(made: Case, rate: float, page: int, limit: float = 20.0, seeds: int = 3, count: int = 200) -> float:
    """Return the share of requests answered within `limit` seconds at `rate` requests a second, mean over `seeds`."""
    server = made.server(page)
    runs = (simulate(requests(count, rate, seed), made.cost, server) for seed in range(seeds))
    return sum(run.within(limit) for run in runs) / seeds


def paging_wins(made: Case, rate: float, page: int = 16, by: float = 0.05) -> bool:
    """Return whether pages answer at least the share `by` of all requests more within the limit than contiguous."""
    return share_within(made, rate, page) - share_within(made, rate, made.context) >= by


def check_paging_wins(answer: Any, made: Case, tolerance: float = 0.1) -> Verdict:
    """Check the load (requests per second) from which paging wins, within `tolerance`."""
    rate = number(answer) or 0.0
    if rate <= 0:
        return Verdict(False, f"{shown(answer)} is no load: give requests per second.")
    if paging_wins(made, rate / (1 + tolerance)):
        return Verdict(False, f"paging wins already at less than {rate:g} requests a second.")
    if not paging_wins(made, rate * (1 + tolerance)):
        return Verdict(False, f"at {rate:g} requests a second contiguous still keeps up.")
    return Verdict(True, "from there on requests wait for memory that is reserved and holds nothing.")
