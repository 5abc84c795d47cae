"""Choosing a plan from a Pareto front, and how a found plan is put in force: what `Session` adds to generating."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Event as Flag

from .errors import PlanError
from .events import LatestRecorder, Observer
from .generating import Generating
from .hardware import HardwareProfile
from .planner import Assignment, ColonyParameters, ParetoFront, PlanningProblem, PlanResult, Workload
from .planner.build import build_problem, unpacking_if_it_fits
from .planner.pareto import MEMORY_SHARES, front_within
from .planner.stop import StopRule

__all__ = ["Choosing", "check_search", "guessing_as"]


class Choosing(Generating):
    """What `Session` inherits besides generating: `pareto` and `pick`."""

    recorder: LatestRecorder

    def __init__(self) -> None:
        super().__init__()
        self.front: ParetoFront | None = None
        self._plan_stopped = Flag()

    @abstractmethod
    def _calibrated(self) -> HardwareProfile: ...

    @abstractmethod
    def _close_chain(self) -> None: ...

    def pareto(
        self,
        vram: int | str | None = None,
        ram: int | str | None = None,
        disk: bool = True,
        precision: str | Sequence[str] | None = None,
        context: int | None = None,
        batch: int = 1,
        objective: str = "latency",
        seed: int = 0,
        seconds: float = 10.0,
        stop: StopRule | None = None,
        locks: Mapping[str, Assignment] | None = None,
        params: ColonyParameters | None = None,
        kv: str | None = None,
        memory_shares: Sequence[float] = MEMORY_SHARES,
        budgets: Sequence[float] | None = None,
        on_event: Observer | None = None,
    ) -> ParetoFront:
        """Search plans of which none is beaten in speed, memory and quality at once; the plan in force stays.

        `pick` puts one of them in force; `front` is the last one found. Parameters are those of `plan`, but:

        precision : None allows the checkpoint's own, int8 and int4.
        seconds, stop : time of the whole front, or a rule that ends each of its searches.
        memory_shares : plans are also searched within these shares of the memory that the best plan takes.
        budgets : losses of quality within which plans are searched; None takes five from the least to the most.

        Raises
        ------
        UnitError, PlanError, InfeasibleError : with the front before left as it was.
        """
        self._check_usable()
        check_search(seed, seconds)
        if self.generating and self.plan_result is not None:  # what runs keeps its KV cache
            load = self.plan_result.problem.workload
            context, batch, kv = context or load.context, load.batch, load.kv_precision
        problem = build_problem(
            self.profile, self._calibrated(), vram=vram, ram=ram, disk=disk, precision=precision or self._precisions(),
            context=context, batch=batch, objective=objective, locks=locks, kv=kv,
        )  # fmt: skip
        if self.generating and self.plan_result is not None:
            running = self.plan_result.problem
            problem = replace(problem, workload=guessing_as(problem, running), held=running.held)
        self._plan_stopped.clear()

        def front_of(problem: PlanningProblem) -> ParetoFront:
            return front_within(
                problem, seconds, memory_shares, budgets, stop, self._plan_stopped.is_set,
                seed=seed, params=params, on_event=on_event,
            )  # fmt: skip

        self.front = unpacking_if_it_fits(problem, self.profile, front_of)
        return self.front

    def pick(self, number: int) -> PlanResult:
        """Put plan `number` of the last front in force (1 is the fastest) and return it.

        Its memory caps and its quality budget, those of its corner of the front, hold from then on. While tokens come
        it takes effect between two of them.

        Raises
        ------
        PlanError : there is no front, no such number, or the context is not that of the running generation.
        """
        self._check_usable()
        if self.front is None:
            raise PlanError(
                f"Plan {number} of the front was asked, but no front was searched yet: run session.pareto() "
                "(%llm_plan --pareto) first."
            )
        plan = self.front.numbered(number)
        self._put_in_force(plan)
        self.recorder.forget_search()  # what it holds is of another plan
        return plan

    def _precisions(self) -> tuple[str, ...]:
        """Return what a front may choose from; a foreign model's own layers are not quantised."""
        own = self.profile.precision
        foreign = any(block.kind == "layer" for block in self.profile.blocks)
        return (own,) if foreign else tuple(dict.fromkeys((own, "int8", "int4")))

    def _put_in_force(self, plan: PlanResult) -> None:
        """Make `plan` the session's: now, or between two tokens of the running generation."""
        running = self.plan_result
        if self._generating.locked() and running is not None:
            if plan.problem.workload != running.problem.workload:
                raise PlanError("The context cannot change during a generation: stop it, then plan again.")
            self._pending = (plan, running)
        elif self._chain is not None:
            self._close_chain()
        self.plan_result = plan


def guessing_as(problem: PlanningProblem, running: PlanningProblem) -> Workload:
    """Return the workload of `problem` with the speculation of the plan in force."""
    load = running.workload
    return replace(
        problem.workload, tokens_per_pass=load.tokens_per_pass, accepted_share=load.accepted_share,
        draft_seconds=load.draft_seconds,
    )  # fmt: skip


def check_search(seed: int, seconds: float) -> None:
    """PlanError naming all that is wrong with a search's seed and seconds."""
    found = []
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
        found.append(f"The search was given {seconds!r} seconds: give it a number above 0, such as 2.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        found.append(f"The search was given the seed {seed!r}: give a whole number from 0.")
    if found:
        raise PlanError(" ".join(found))
