"""One run of one method on one problem of the suite, and many runs side by side in processes of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from ..errors import LlmdistError
from ..events import IterationFinished
from ..planner.params import ColonyParameters
from ..planner.rivals import RIVALS, Record
from ..planner.solve import search
from ..planner.stop import MaxSeconds
from ..planner.tables import cost_tables
from ._planner_suite import SUITE

__all__ = ["METHODS", "VARIANTS", "Run", "Task", "run_all", "run_one"]

METHODS = ("colony", *RIVALS)
#: The colony with one enhancement left out, for the ablation.
VARIANTS: dict[str, tuple[tuple[str, Any], ...]] = {
    "no macro ants": (("macro_every", 0),),
    "no macro tree": (("tree", False),),
    "no polish": (("polish", 0),),
    "no moves of borders": (("kinds", {"move": 0.2, "sibling": 0.25, "near": 0.2, "far": 0.2, "window": 0.15}),),
    "no turns": (("turns", False),),
    "no visibility": (("theta", 1e9),),
    "no focused ants": (("focused_ants", 0),),
    "no local search": (("rounds", 0),),
    "no screening": (("screening", False),),
    "moves only": (("kinds", {"move": 1.0}),),
    "no convergence factor": (("convergence", False),),
}


@dataclass(frozen=True, slots=True)
class Task:
    """What to run, for so many seconds of processor time."""

    problem: str
    method: str
    seed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a task: best objective (None: nothing fits), its history, the bound that the method proves."""

    task: Task
    objective: float | None
    bound: float
    evaluations: int
    seconds: float
    trace: tuple[tuple[float, float], ...]
    error: str = ""


def run_one(task: Task) -> Run:
    """Run one task; the clock is the process's own processor time, so that other load counts little."""
    problem = SUITE[task.problem]()
    clock = time.process_time
    started = clock()
    try:
        if task.method == "colony" or task.method in VARIANTS:
            return _colony(task)
        record = Record(cost_tables(problem), task.seconds, clock)
        RIVALS[task.method][0](record, task.seed)
    except LlmdistError as error:
        return Run(task, None, 0.0, 0, clock() - started, (), str(error))
    found = record.value if record.best is not None else None
    return Run(task, found, 0.0, record.evaluations, record.elapsed, tuple(record.trace))


def _colony(task: Task) -> Run:
    params = ColonyParameters(**dict(VARIANTS.get(task.method, ())))
    trace: list[tuple[float, float]] = []
    events = search(SUITE[task.problem](), task.seed, MaxSeconds(task.seconds), params, True, time.process_time)
    while True:
        try:
            event = next(events)
        except StopIteration as finished:
            plan = finished.value
            break
        if isinstance(event, IterationFinished) and (not trace or event.best < trace[-1][1]):
            trace.append((event.elapsed_seconds, event.best))
    trace.append((plan.elapsed_seconds, plan.objective_seconds))
    found = plan.objective_seconds
    return Run(task, found, plan.bound_seconds, plan.evaluations, plan.elapsed_seconds, tuple(trace))


def run_all(tasks: Sequence[Task], jobs: int) -> Iterator[Run]:
    """Yield the runs as they finish, `jobs` at a time, each process doing one task at a time."""
    if jobs == 1:
        yield from map(run_one, tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        pending = [pool.submit(run_one, task) for task in tasks]
        for finished in as_completed(pending):
            yield finished.result()
