"""`%llm_plan`: search a placement, show it moving in a notebook, print it in a terminal; or simulate one."""

from __future__ import annotations

from functools import partial
from typing import Any

from llmdist.hardware import hardware_profile
from llmdist.planner import plan_for
from llmdist.planner.result import PlanResult
from llmdist.units import parse_size
from llmdist_widgets.live import LivePlan, in_notebook

from .arguments import parse
from .state import SessionState, user_errors

__all__ = ["plan"]


def plan(state: SessionState, line: str) -> PlanResult | None:
    """Plan with the options in `line`; return the result with -o."""
    options = parse("llm_plan", line)
    simulated = bool(options.machine or options.model_shape)
    session = state.session if options.model_shape else state.require()
    with user_errors():
        arguments: dict[str, Any] = {
            "vram": parse_size(options.vram) if options.vram else None,
            "ram": parse_size(options.ram) if options.ram else None,
            "precision": tuple(options.precision.split(",")) if options.precision else None,
        }
        for name in ("disk", "context", "batch", "objective", "seed", "seconds"):
            arguments[name] = getattr(options, name)
        view = LivePlan() if in_notebook() and not options.quiet else None
        try:
            search = partial(_simulate, session, options) if simulated else session.plan
            result: PlanResult = search(**arguments, on_event=view)
        except BaseException:
            if view:
                view.finish("<i>No plan was made.</i>", "No plan was made.")
            raise
    if view:
        view.done(result)
    elif not options.quiet:
        print(result.summary())
        print(result.bottleneck())
    return result if options.output else None


def _simulate(session: Any, options: Any, **arguments: Any) -> PlanResult:
    """Plan for a machine or model that is not there; nothing is put in force."""
    model = options.model_shape or session.profile
    machine = options.machine or (session.hardware if session else hardware_profile())
    return plan_for(model, machine, **arguments)
