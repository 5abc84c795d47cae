"""`%llm_unload`: end the session and free its memory."""

from __future__ import annotations

from .arguments import parse
from .state import SessionState, user_errors

__all__ = ["unload"]


def unload(state: SessionState, line: str) -> None:
    """Unload the session; UsageError when there is none."""
    parse("llm_unload", line)
    name = state.require().model_name
    with user_errors():
        state.replace(None)
    print(f"Unloaded {name}.")
