"""`%llm_load`: open a model; the former session is unloaded only once the new one opened."""

from __future__ import annotations

import llmdist

from .arguments import parse
from .state import SessionState, user_errors

__all__ = ["load"]


def load(state: SessionState, line: str) -> None:
    """Load a model into the state and describe it."""
    options = parse("llm_load", line)
    with user_errors():
        session = llmdist.load(options.model, revision=options.revision, isolate=not options.inline)
        state.replace(session)
        print(session.describe())
