"""`%llm_plan`: search a placement, show it moving in a notebook, print it in a terminal; or simulate one."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from threading import Event as Flag
from typing import Any

from IPython.core.error import UsageError

from llmdist.events import Event, Observer
from llmdist.hardware import hardware_profile
from llmdist.planner import AnyOf, Asked, MaxIterations, MaxSeconds, ParetoFront, pareto_for, plan_for
from llmdist.planner.result import PlanResult
from llmdist.units import parse_size
from llmdist_widgets.live import LivePlan, in_notebook, watched

from .arguments import parse, written
from .background import Background
from .running import Search
from .state import SessionState, user_errors

__all__ = ["plan"]

#: How long every search of a lesson is, so that a fast and a slow laptop find the same plan of the same problem.
LESSON_ITERATIONS = 40


def plan(state: SessionState, line: str) -> PlanResult | ParetoFront | Background | None:
    """Plan with the options in `line`; return the result with -o, a handle with --background."""
    options = parse("llm_plan", line)
    if options.pick is not None:
        _check_pick(options)
        with user_errors():
            return state.fronts.pick(state, options)
    options = state.frozen(options)
    equal = state.lesson is not None and options.seconds is None
    if options.pareto and options.seconds is None:
        options.seconds = state.config.pareto_seconds
    options = state.config.filled(options, "seed", "seconds")
    simulated = bool(options.machine or options.model_shape)
    session = state.session if options.model_shape else state.require()
    state.check_name(options.out)
    what = "a simulated plan" if simulated else "a Pareto front" if options.pareto else ""
    if options.background and what:
        raise UsageError(f"%llm_plan: {what} does not run in the background; leave --background out.")
    if options.speculate and what:
        raise UsageError(f"%llm_plan: {what} does not speculate; leave --speculate out.")
    guesses = state.guesses(options)
    if session is not None and not simulated:
        state.say_in_use(options.quiet)
    with user_errors():
        arguments = _arguments(options)
        arguments["params"] = state.colony()
        if not what:
            arguments |= guesses
        if equal:
            arguments["stop"] = MaxIterations(LESSON_ITERATIONS)
        stop = _stop_of_simulated(options, arguments) if simulated else session.stop_planning
        pictures = in_notebook() and state.config.views and not options.quiet
        if options.pareto:
            work = partial(_simulate, session, options, pareto_for) if simulated else session.pareto
            return state.fronts.search(state, options, partial(work, **arguments), stop, pictures)
        view = LivePlan(stop) if pictures else None
        work = partial(_simulate, session, options, plan_for) if simulated else session.plan
        work = partial(work, **arguments)
        if options.background:
            job = _in_background(state, view, work)
            state.keep(options.out, job)
            return job
        search = Search("%llm_plan", work, stop)
        result = _search(view, search)
    if view is None and not options.quiet:
        print(_words(result))
    search.say(" with the best simulated plan so far" if simulated else "; the best plan so far is in force")
    state.keep(options.out, result)
    return result if options.output else None


def _check_pick(options: argparse.Namespace) -> None:
    """UsageError naming the options that mean nothing beside --pick."""
    idle = [option for option in written("llm_plan", options) if option not in ("--pick", "-o", "--out", "-q")]
    if idle:
        mean, them = ("mean", "them") if len(idle) > 1 else ("means", "it")
        raise UsageError(
            f"%llm_plan --pick {options.pick}: {' and '.join(idle)} {mean} nothing with --pick, which takes a plan as "
            f"it was searched; leave {them} out."
        )


def _arguments(options: argparse.Namespace) -> dict[str, Any]:
    names = ("disk", "context", "batch", "kv", "objective", "seed", "seconds")
    return {
        "vram": None if options.vram is None else parse_size(options.vram),
        "ram": None if options.ram is None else parse_size(options.ram),
        "precision": None if options.precision is None else tuple(options.precision.split(",")),
        **{name: getattr(options, name) for name in names},
    }


def _stop_of_simulated(options: argparse.Namespace, arguments: dict[str, Any]) -> Callable[[], None]:
    """Return what ends a simulated search, after putting into its arguments that it hears it."""
    asked = Flag()
    if options.pareto:
        arguments["enough"] = asked.is_set
    else:
        limit = arguments.get("stop") or MaxSeconds(options.seconds)
        arguments["stop"] = AnyOf((limit, Asked(asked.is_set)))
    return asked.set


def _search(view: LivePlan | None, work: Callable[..., PlanResult]) -> PlanResult:
    """Run the search; the view shows it and keeps the plan, or says that there is none."""
    found = watched(view, work, "No plan was made.")
    if view:
        view.done(found, _words(found))
    return found


def _in_background(state: SessionState, view: LivePlan | None, work: Callable[..., PlanResult]) -> Background:
    """Start the search in a thread; it has begun, so what it warns of is said in this cell."""
    begun, session = Flag(), state.session

    def begins(on_event: Observer | None) -> PlanResult:
        def heard(event: Event) -> None:
            begun.set()
            if on_event is not None:
                on_event(event)

        try:
            return work(on_event=heard)
        finally:
            begun.set()

    job = Background("search", session, partial(_search, view, begins), session.stop_planning, held=state.held())
    begun.wait(1.0)
    return job


def _words(plan: PlanResult) -> str:
    return f"{plan.summary()}\n{plan.bottleneck()}"


def _simulate(session: Any, options: Any, planner: Callable[..., Any], **arguments: Any) -> Any:
    """Plan for a machine or model that is not there; nothing is put in force."""
    model = options.model_shape or session.profile
    machine = options.machine or (session.hardware if session else hardware_profile())
    return planner(model, machine, **arguments)
