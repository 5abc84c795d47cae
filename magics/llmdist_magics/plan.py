"""`%llm_plan`: search a placement, show it moving in a notebook, print it in a terminal."""

from __future__ import annotations

from typing import Any

from llmdist.planner.result import PlanResult
from llmdist.units import parse_size
from llmdist_widgets.live import LivePlan, in_notebook

from .arguments import parse
from .state import SessionState, user_errors

__all__ = ["plan"]


def plan(state: SessionState, line: str) -> PlanResult | None:
    """Plan with the options in `line`; return the result with -o."""
    options = parse("llm_plan", line)
    session = state.require()
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
            result: PlanResult = session.plan(**arguments, on_event=view)
        except BaseException:
            if view:
                view.finish("<i>No plan was made.</i>", "No plan was made.")
            raise
    if view:
        view.done(result)
    elif not options.quiet:
        print(result.summary())
    return result if options.output else None
