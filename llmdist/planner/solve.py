"""The planner's verbs: `search` yields what happens, `solve` returns the plan, `evaluate` prices a placement."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial

import numpy as np
from threadpoolctl import ThreadpoolController

from ..cost.memory import peak_bytes, pinned_bytes, quality_penalty
from ..cost.timing import compute_seconds, copied_bytes, copy_seconds, decode_step
from ..cost.vectorised import Batch, peak_many
from ..errors import InfeasibleError, PlanError
from ..events import Event, IterationFinished, Observer, PlanFinished, PlanStarted
from ..units import format_bytes
from .arrange import Spread, arrange, rounded, site_orders, sites_of
from .baselines import dynamic_programming, greedy
from .bound import Relaxation
from .classes import assignment_violations
from .colony import Colony
from .macro import MacroAnts
from .params import ColonyParameters
from .placement import Placement
from .problem import PlanningProblem
from .result import HistoryRow, PlanResult, Prediction
from .stop import MaxSeconds, Progress, StopRule
from .tables import Choices, CostTables, Floats, cost_tables

__all__ = ["evaluate", "search", "solve", "violations"]

OPTIMAL_GAP = 1e-4
WHOLE_NODES = 300
FIRST_PLANS, PLANS_AT_ONCE = 40, 4  # of the macro tree: the search begins with them, some per iteration
MOST_BUSY = 8.0


def _structure_violations(problem: PlanningProblem, placement: Placement) -> list[str]:
    names = tuple(block.name for block in problem.blocks)
    if placement.blocks != names:
        return [
            f"the placement is for another model: it has {len(placement.blocks)} blocks "
            f"({placement.blocks[0]} .. {placement.blocks[-1]}), this one {len(names)} ({names[0]} .. {names[-1]})"
        ]
    pairs = zip(problem.blocks, placement.assignments, strict=True)
    return [found for block, choice in pairs for found in assignment_violations(problem, block, choice)]


def violations(problem: PlanningProblem, placement: Placement) -> list[str]:
    """Return everything that keeps `placement` from running under `problem`, memory caps included."""
    found = _structure_violations(problem, placement)
    if found:
        return found
    found = [
        f"{name} needs {format_bytes(used)} but its cap is {format_bytes(problem.cap(name))}, "
        f"{format_bytes(used - problem.cap(name))} less"
        for name, used in peak_bytes(problem, placement).items()
        if used > problem.cap(name)
    ]
    limits = {device.name: device.pinned_bytes for device in problem.devices if device.pinned_bytes}
    found += [
        f"{name} must pin {format_bytes(used)} but can pin {format_bytes(limits[name])}"
        for name, used in pinned_bytes(problem, placement).items()
        if used > limits.get(name, used)
    ]
    penalty, budget = quality_penalty(problem, placement), problem.quality_budget
    if budget is not None and penalty > budget + 1e-9 * max(1.0, budget):
        found.append(f"the loss of quality is {penalty:.3g}, the budget {budget:.3g}")
    return found


def evaluate(problem: PlanningProblem, placement: Placement) -> Prediction:
    """Return the predicted speed and memory of `placement`; PlanError names all that is impossible."""
    found = _structure_violations(problem, placement)
    if found:
        raise PlanError("The placement cannot be evaluated: " + "; ".join(found) + ".")
    locks = dict(placement.items())
    fixed = replace(problem, locks=locks)
    batch = Batch(cost_tables(fixed), np.zeros((1, len(problem.blocks)), np.int64))
    tpot = float(batch.decode_seconds[0]) / problem.workload.accepted
    between = float(batch.objective[0]) if problem.objective == "throughput" else tpot
    step = decode_step(problem)
    pairs = list(zip(problem.blocks, placement.assignments, strict=True))
    return Prediction(
        tokens_per_second=problem.workload.batch / between,
        tpot_seconds=tpot,
        ttft_seconds=float(batch.prefill_seconds[0]),
        peak_bytes=peak_bytes(problem, placement),
        bytes_per_token=sum(copied_bytes(problem, b, a, step) for b, a in pairs if b.kind != "embed"),
        block_seconds=tuple(compute_seconds(problem, b, a, step) for b, a in pairs),
        copy_seconds=tuple(0.0 if b.kind == "embed" else copy_seconds(problem, b, a, step) for b, a in pairs),
        spread=problem.spread,
    )


def _infeasible(tables: CostTables, choice: Choices) -> InfeasibleError:
    """Say by how many bytes the least demanding placement is over, and what would make it fit."""
    problem = tables.problem
    peaks = peak_many(tables, choice[None])[0]
    over = [(d, float(peaks[m])) for m, d in enumerate(problem.devices) if peaks[m] > tables.caps[m]]
    parts = [
        f"{d.name} is capped at {format_bytes(problem.cap(d.name))}, at least {format_bytes(peak)} are needed "
        f"({int(peak) - problem.cap(d.name)} bytes more)"
        for d, peak in over
    ]
    batch = Batch(tables, choice[None])
    penalty, budget = float(batch.totals.penalty[0]), problem.quality_budget
    if budget is not None and penalty > budget:
        parts.append(f"the quality budget is {budget:.3g}, at least {penalty:.3g} are lost")
    for m, device in enumerate(problem.devices):
        if (needed := batch.totals.pinned[0, m]) > tables.pinned_caps[m]:
            limit = format_bytes(device.pinned_bytes)
            parts.append(f"{device.name} can pin {limit}, {format_bytes(int(needed))} are needed")
    disk = "" if any(d.kind == "disk" for d in problem.devices) else ", allow the disk"
    return InfeasibleError(
        f"No placement of the {len(problem.blocks)} blocks fits: {'; '.join(parts)}. "
        f"Raise that cap, or shorten the context ({problem.workload.context} tokens){disk}."
    )


def search(
    problem: PlanningProblem,
    seed: int = 0,
    stop: StopRule | None = None,
    params: ColonyParameters | None = None,
    simulated: bool = False,
    clock: Callable[[], float] = time.monotonic,
    start: PlanResult | None = None,
) -> Generator[Event, None, PlanResult]:
    """Yield the events of a search; its return value is the plan. `clock` gives the seconds that count.

    `start` is an earlier plan of the same model to go on from, such as when memory has shrunk.

    Raises
    ------
    InfeasibleError : no placement fits. PlanError : a lock cannot be kept.
    """
    stop = stop or MaxSeconds(2.0)
    started, wall = clock(), time.monotonic()
    one_thread = partial(ThreadpoolController().limit, limits=1, user_api="blas")  # products this small are quicker so
    tables = cost_tables(problem)
    yield PlanStarted(
        tuple(block.name for block in problem.blocks),
        tuple(tuple(option.label for option in row) for row in tables.options),
        tuple(device.name for device in problem.devices),
        problem.objective,
    )
    relaxation = Relaxation(tables)
    linear = relaxation.linear()
    params = params or ColonyParameters()
    seeds = np.array([greedy(tables), dynamic_programming(tables)])
    if linear.infeasible:
        raise _infeasible(tables, _least(relaxation, seeds[0]))
    bound = max(linear.bound if np.isfinite(linear.bound) else 0.0, _resident_floor(tables))
    visibility = _visibility(tables, linear.reduced, params.theta * bound / tables.shape[0])
    macro = MacroAnts(tables, relaxation, linear, params, visibility)
    colony = Colony(tables, macro, visibility, params, np.random.default_rng(seed))
    colony.consider(seeds)
    if start is not None:
        colony.resume(start)
    for counts in macro.learn(linear.counts):
        colony.try_plan(counts)
    history: list[HistoryRow] = []

    def patience(share: float) -> float | None:
        """Return the solver's time limit: it counts wall-clock seconds, more of which pass on a busy machine."""
        if stop.seconds is None:
            return None
        busy = (time.monotonic() - wall) / max(clock() - started, 1e-3)
        return share * stop.seconds * min(max(busy, 1.0), MOST_BUSY)

    def finished() -> IterationFinished:
        event = _iteration(colony, len(history), clock() - started, bound)
        history.append(HistoryRow(event.iteration, event.elapsed_seconds, event.best, event.mean, event.entropy))
        return event

    yield finished()
    opening = (0.1 if _first_plans(colony, patience) else 0.25) if params.macro_every and params.tree else 0.0
    explored = 0
    bound = max(bound, macro.bound(colony.bound_value))
    reason = None
    while reason is None:
        with one_thread():
            if explored < FIRST_PLANS and (stop.seconds is None or clock() - started < opening * stop.seconds):
                for _ in range(PLANS_AT_ONCE if opening else 0):
                    for counts in macro.explore(colony.bound_value, patience(0.05)):
                        colony.try_plan(counts)
                explored += PLANS_AT_ONCE
                if macro.tree.bound == float("inf") and not colony.feasible:
                    raise _infeasible(tables, _least(relaxation, seeds[0]))
            colony.iterate(patience(0.05))
        bound = max(bound, macro.bound(colony.bound_value))
        event = finished()
        yield event
        progress = Progress(len(history) - 1, event.elapsed_seconds, event.best, bound, colony.idle)
        optimal = colony.feasible and event.best <= bound * (1 + OPTIMAL_GAP)
        reason = "optimal" if optimal else stop.reason(progress)
    if not colony.feasible:
        raise _infeasible(tables, _least(relaxation, colony.best))
    colony.settle()
    elapsed = clock() - started
    yield PlanFinished(len(history), elapsed, colony.best_value, bound, reason)
    placement = tables.placement(colony.best)
    return PlanResult(
        problem, placement, evaluate(problem, placement), colony.best_value, min(bound, colony.best_value),
        "colony", seed, len(history), colony.evaluations, elapsed, tuple(history),
        tuple(map(tuple, colony.trail.shares.tolist())), simulated,
    )  # fmt: skip


def _first_plans(colony: Colony, patience: Callable[[float], float | None]) -> bool:
    """Try whole counts under all macros at once; return whether there are several machines: programs are wide then."""
    several = len(set(sites_of(colony.tables))) > 1
    share = 0.05
    if several:
        share = 0.4 if colony.tables.problem.objective == "throughput" else 0.1
    for counts in colony.macro.learn(colony.macro.tree.whole(patience(share), WHOLE_NODES)):
        colony.try_plan(counts)
    return several


def _visibility(tables: CostTables, reduced: Floats | None, theta: float) -> Floats:
    """Return exp(-reduced cost / theta) per block and option: what the relaxation favours."""
    drop = np.zeros(tables.shape) if reduced is None else np.minimum(reduced[tables.classes] / theta, 6.0)
    return np.where(tables.valid, np.exp(-drop), 0.0)


def _least(relaxation: Relaxation, otherwise: Choices) -> Choices:
    """Return a placement that is over its caps by as little as possible."""
    tables, counts = relaxation.tables, relaxation.least_excess()
    if counts is None:
        return otherwise
    whole, generator = rounded(tables, counts), np.random.default_rng(0)
    spread = Spread.drawn(4, generator)
    return np.asarray(arrange(tables, whole, site_orders(tables, whole), spread, generator)[0])


def _resident_floor(tables: CostTables) -> float:
    """Return a bound that is never zero: every block once, at its cheapest."""
    return float(np.where(tables.valid, tables.decode.compute, np.inf).min(1).sum()) * (1 - 1e-9) / _passes(tables)


def _passes(tables: CostTables) -> float:
    """Return how many tokens one pass yields at most, passes in flight included."""
    load = tables.problem.workload
    return load.accepted * (load.in_flight if tables.problem.objective == "throughput" else 1)


def _iteration(colony: Colony, index: int, elapsed: float, bound: float) -> IterationFinished:
    return IterationFinished(
        index, elapsed, colony.best_value, colony.mean, bound, colony.trail.entropy,
        tuple(map(tuple, colony.trail.shares.round(4).tolist())), tuple(colony.best.tolist()),
    )  # fmt: skip


def solve(
    problem: PlanningProblem,
    seed: int = 0,
    stop: StopRule | None = None,
    on_event: Observer | None = None,
    params: ColonyParameters | None = None,
    simulated: bool = False,
    start: PlanResult | None = None,
) -> PlanResult:
    """Return the best placement found until `stop` (2 seconds when None) or until it is proven optimal.

    `start` is an earlier plan of the same model to go on from.
    """
    events = search(problem, seed, stop, params, simulated, start=start)
    while True:
        try:
            event = next(events)
        except StopIteration as finished:
            result: PlanResult = finished.value
            return result
        if on_event is not None:
            on_event(event)
