"""The planner's verbs: `search` yields what happens, `solve` returns the plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from functools import partial

import numpy as np
from threadpoolctl import ThreadpoolController

from ..errors import InfeasibleError
from ..events import Event, IterationFinished, Observer, PlanFinished, PlanStarted
from .arrange import Spread, arrange, rounded, sites_of
from .baselines import dynamic_programming, greedy
from .bound import Relaxation
from .colony import Colony
from .macro import MacroAnts
from .params import ColonyParameters
from .pricing import evaluate, infeasible
from .problem import PlanningProblem
from .result import HistoryRow, PlanResult
from .stop import MaxSeconds, Progress, StopRule
from .tables import Choices, CostTables, Floats, cost_tables

__all__ = ["search", "solve"]

OPTIMAL_GAP = 1e-4
WHOLE_NODES = 300
OPENING_ROUNDS, OPENING_SHARE = 10, 0.25  # of macro ants and of the time, with which the search begins
EXPLORED = 2  # plans of the macro tree in each of them, half as many over several machines: programs are wide there
MOST_BUSY = 8.0


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
    timer = _Timer(stop.seconds, clock)
    one_thread = partial(ThreadpoolController().limit, limits=1, user_api="blas")  # products this small are quicker so
    tables = cost_tables(problem)
    yield PlanStarted(
        tuple(block.name for block in problem.blocks),
        tuple(tuple(option.label for option in row) for row in tables.options),
        tuple(device.name for device in problem.devices),
        problem.objective,
    )
    run = _Search(tables, seed, params or ColonyParameters(), timer, start)
    yield run.event()
    run.open()
    reason = None
    while reason is None:
        with one_thread():
            run.iterate()
        event = run.event()
        yield event
        reason = run.reason(stop, event)
    yield run.settle(reason)
    return run.result(seed, simulated)


class _Timer:
    """Seconds since the search began, by the clock that counts, and the solver's patience in seconds on the wall."""

    def __init__(self, limit: float | None, clock: Callable[[], float]) -> None:
        self.limit, self._clock, self._started, self._wall = limit, clock, clock(), time.monotonic()

    @property
    def elapsed(self) -> float:
        return self._clock() - self._started

    def patience(self, share: float) -> float | None:
        """Return the solver's time limit: it counts wall-clock seconds, more of which pass on a busy machine."""
        if self.limit is None:
            return None
        busy = (time.monotonic() - self._wall) / max(self.elapsed, 1e-3)
        return share * self.limit * min(max(busy, 1.0), MOST_BUSY)


class _Search:
    """The parts of one search: relaxation, macro ants and colony, the bound that is proven, the history."""

    def __init__(
        self, tables: CostTables, seed: int, params: ColonyParameters, timer: _Timer, start: PlanResult | None
    ) -> None:
        self.tables, self.params, self.timer = tables, params, timer
        self.relaxation = Relaxation(tables)
        linear = self.relaxation.linear()
        self.seeds = np.array([greedy(tables), dynamic_programming(tables)])
        if linear.infeasible:
            raise self._infeasible()
        self.bound = max(linear.bound if np.isfinite(linear.bound) else 0.0, _resident_floor(tables))
        visibility = _visibility(tables, linear.reduced, params.theta * self.bound / tables.shape[0])
        self.macro = MacroAnts(tables, self.relaxation, linear, params, visibility)
        self.colony = Colony(tables, self.macro, visibility, params, np.random.default_rng(seed))
        self.colony.consider(self.seeds)
        if start is not None:
            self.colony.resume(start)
        self.colony.try_plans(self.macro.learn(linear.counts))
        self.history: list[HistoryRow] = []
        self.several = len(set(sites_of(tables))) > 1
        self._elapsed = 0.0

    def _infeasible(self, otherwise: Choices | None = None) -> InfeasibleError:
        return infeasible(self.tables, _least(self.relaxation, self.seeds[0] if otherwise is None else otherwise))

    def event(self) -> IterationFinished:
        """Return what the iteration came to, and remember it."""
        event = _iteration(self.colony, len(self.history), self.timer.elapsed, self.bound)
        self.history.append(HistoryRow(event.iteration, event.elapsed_seconds, event.best, event.mean, event.entropy))
        return event

    def open(self) -> None:
        """Try first whole plans, under all macros at once."""
        if self.params.macro_every and self.params.tree:
            late = self.several and self.tables.problem.objective == "throughput"  # its first whole plan comes late
            patience = self.timer.patience(0.4 if late else 0.05)
            self.colony.try_plans(self.macro.learn(self.macro.tree.whole(patience, WHOLE_NODES)))
        self._prove()

    def _prove(self) -> None:
        self.bound = max(self.bound, self.macro.bound(self.colony.bound_value))

    def iterate(self) -> None:
        """Let macro ants go first while the search is young, then walk all ants once."""
        young = len(self.history) <= OPENING_ROUNDS
        if young and (self.timer.limit is None or self.timer.elapsed < OPENING_SHARE * self.timer.limit):
            self._explore()
            if self.macro.tree.bound == float("inf") and not self.colony.feasible:
                raise self._infeasible()
        self.colony.iterate(self.timer.patience(0.05))
        self._prove()

    def _explore(self) -> None:
        """Try plans under macros that the trail leads to, and plans of the tree's least nodes."""
        params, plans = self.params, []
        for _ in range(params.macro_ants if params.macro_every else 0):
            plans += self.macro.draw(self.colony.bound_value, self.colony.generator)
        if params.macro_every and params.tree:
            for _ in range(1 if self.several else EXPLORED):
                plans += self.macro.explore(self.colony.bound_value, self.timer.patience(0.05))
        self.colony.try_plans(plans)
        self.macro.reward(self.colony.best)

    def reason(self, stop: StopRule, event: IterationFinished) -> str | None:
        """Return why the search ends here, None while it goes on."""
        if self.colony.feasible and event.best <= self.bound * (1 + OPTIMAL_GAP):
            return "optimal"
        last = len(self.history) - 1
        return stop.reason(Progress(last, event.elapsed_seconds, event.best, self.bound, self.colony.idle))

    def settle(self, reason: str) -> PlanFinished:
        """End the search: copies that win nothing go."""
        if not self.colony.feasible:
            raise self._infeasible(self.colony.best)
        self.colony.settle()
        self._elapsed = self.timer.elapsed
        return PlanFinished(len(self.history), self._elapsed, self.colony.best_value, self.bound, reason)

    def result(self, seed: int, simulated: bool) -> PlanResult:
        """Return the plan."""
        colony, problem = self.colony, self.tables.problem
        placement = self.tables.placement(colony.best)
        return PlanResult(
            problem, placement, evaluate(problem, placement), colony.best_value, min(self.bound, colony.best_value),
            "colony", seed, len(self.history), colony.evaluations, self._elapsed, tuple(self.history),
            tuple(map(tuple, colony.trail.shares.tolist())), simulated,
        )  # fmt: skip


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
    return np.asarray(arrange(tables, [whole], spread, generator)[0])


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
