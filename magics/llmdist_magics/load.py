"""`%llm_load`: open a model; the former session is unloaded only once the new one opened."""

from __future__ import annotations

import llmdist
from llmdist.session import Session
from llmdist_widgets.live import StaticView, in_notebook
from llmdist_widgets.status import status_html

from .arguments import parse
from .progress import Progress
from .state import SessionState, user_errors

__all__ = ["load"]


def load(state: SessionState, line: str) -> Session | None:
    """Load a model into the state and describe it; return the session with -o."""
    options = parse("llm_load", line)
    state.check_name(options.out)
    pictures = in_notebook() and state.config.views and not options.quiet
    progress = Progress(options.quiet, pictures)
    with user_errors():
        try:
            session = llmdist.load(
                options.model, revision=options.revision, isolate=not options.inline, progress=progress,
                calibrate=state.config.calibrate and options.lesson is None,
            )  # fmt: skip
        finally:
            progress.close()
        session.on_progress = None  # the cell that loads weights shows it
        state.replace(session)
        state.lesson = options.lesson
    show_session(session, pictures, options.quiet)
    state.keep(options.out, session)
    return session if options.output else None


def show_session(session: Session, pictures: bool, quiet: bool) -> None:
    """Show the machine as a picture in a notebook, as text elsewhere, not at all when `quiet`."""
    if pictures:
        from IPython.display import display

        display(StaticView(status_html(session), session.describe()))
    elif not quiet:
        print(session.describe())
