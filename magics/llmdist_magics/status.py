"""`%llm_status`: the model, the machine and the plan in force, as a picture or as text."""

from __future__ import annotations

from llmdist_widgets.live import in_notebook

from .arguments import parse
from .load import show_session
from .state import SessionState, user_errors

__all__ = ["status"]


def status(state: SessionState, line: str) -> None:
    """Show the session, or say how to start."""
    options = parse("llm_status", line)
    if state.session is None:
        print("No model is loaded: run %llm_load demo or %llm_load FOLDER.")
        return
    with user_errors():
        session = state.require()
        pictures = in_notebook() and state.config.views and not options.quiet
        show_session(session, pictures, quiet=False)
