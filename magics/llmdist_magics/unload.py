"""`%llm_unload`: end the session and free its memory."""

from __future__ import annotations

from .arguments import parse
from .state import SessionState, user_errors

__all__ = ["unload"]


def unload(state: SessionState, line: str) -> None:
    """Unload the session and stop a load in the background; UsageError when there is neither."""
    parse("llm_unload", line)
    if state.loading is not None and state.loading.running:
        state.loading.stop()
        print("The load in the background ends at its next step.")
        if state.session is None:
            return
    name = state.require().model_name
    with user_errors():
        state.replace(None)
    print(f"Unloaded {name}.")
