"""`%llm_report`: write the session's plan and last generation to an HTML page that needs neither kernel nor network."""

from __future__ import annotations

from pathlib import Path

from IPython.core.error import UsageError

from llmdist_widgets.report import write_session_report

from .arguments import parse
from .state import SessionState

__all__ = ["report"]


def report(state: SessionState, line: str) -> Path | None:
    """Write the page; return its path with -o."""
    options = parse("llm_report", line)
    session = state.require()
    if session.plan_result is None and not session.text:
        raise UsageError("%llm_report: there is nothing to report yet; run %llm_plan or %llm_generate first.")
    try:
        path = write_session_report(options.file, session, title=options.title)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"%llm_report: {options.file} cannot be written ({reason}); name another file.") from None
    print(f"Wrote {path} ({path.stat().st_size / 1024:.0f} KiB).")
    state.keep(options.out, path)
    return path if options.output else None
