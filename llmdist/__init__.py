"""llmdist runs large language models on hardware too small for them, and shows how it does it.

    session = llmdist.load("demo")
    plan = session.plan(ram="8GiB")
    for step in session.generate("The ants"):
        print(step.text, end="")
"""

from __future__ import annotations

from typing import Any

from . import planner
from .errors import LlmdistError
from .planner import Assignment, Placement, PlanResult, pareto_for, plan_for
from .session import Session, load

__all__ = [
    "Assignment", "LlmdistError", "Placement", "PlanResult", "Session", "load", "pareto_for", "plan_for", "planner",
]  # fmt: skip
__version__ = "0.1.0"


def load_ipython_extension(ipython: Any) -> None:
    """Register the magics: what ``%load_ext llmdist`` calls."""
    try:
        import llmdist_magics
    except ModuleNotFoundError as error:
        raise ImportError("The magics are not installed: run pip install -e . in the checkout.") from error
    llmdist_magics.load_ipython_extension(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Remove the magics and unload the model."""
    import llmdist_magics

    llmdist_magics.unload_ipython_extension(ipython)
