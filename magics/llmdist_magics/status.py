"""`%llm_status`: the model, the machine and the plan in force, as text."""

from __future__ import annotations

from .arguments import parse
from .state import SessionState, user_errors

__all__ = ["status"]


def status(state: SessionState, line: str) -> None:
    """Print the session's description, or how to start."""
    parse("llm_status", line)
    if state.session is None:
        print("No model is loaded: run %llm_load demo or %llm_load FOLDER.")
        return
    with user_errors():
        print(state.session.describe())
