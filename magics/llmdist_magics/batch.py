"""`%%llm_generate --batch`: every line of the cell is a prompt; weights are read once per pass for all of them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any

from IPython.core.error import UsageError

from llmdist.events import Event
from llmdist.generation import BatchStep
from llmdist.session import Session
from llmdist.units import format_seconds, format_speed
from llmdist_widgets.batch import batch_html, batch_text
from llmdist_widgets.live import StaticView, in_notebook

from .progress import Progress
from .running import Arrived, drain
from .state import SessionState, user_errors
from .wording import counted

__all__ = ["generate_batch"]

_NOT_TOGETHER = ("chat", "background", "speculate")


def generate_batch(
    state: SessionState, options: argparse.Namespace, cell: str, arguments: Mapping[str, Any]
) -> list[str] | None:
    """Generate from every line of `cell`; return the texts with -o."""
    prompts = [line for line in cell.splitlines() if line.strip()]
    session: Session = state.require()
    _check(session, options, len(prompts))
    arrived, progress = Arrived(), Progress(options.quiet)
    noted = len(session.messages)
    with user_errors():
        steps = session.generate_batch(prompts, on_event=arrived.put, **arguments)
        view = _Shown(prompts, session, in_notebook() and state.config.views and not options.quiet)
        try:
            stopped = drain(session, steps, arrived, view, progress)
        finally:
            progress.close()
            view.done(_total(session))
    if stopped:
        print(f"Stopped after {counted(session.stats.tokens, 'token')}; the texts are kept in llm.texts.")
    for note in session.messages[noted:]:
        print(note)
    texts = list(session.texts)
    state.keep(options.out, texts)
    return texts if options.output else None


def _check(session: Session, options: argparse.Namespace, count: int) -> None:
    for name in _NOT_TOGETHER:
        if getattr(options, name):
            raise UsageError(f"%llm_generate: --batch does not go with --{name}; leave one of them out.")
    plan = session.plan_result
    if plan is not None and count > plan.problem.workload.batch:
        raise UsageError(
            f"%llm_generate --batch: {count} prompts were given, but the plan's KV cache holds "
            f"{plan.problem.workload.batch}; run %llm_plan --batch {count} first."
        )


def _total(session: Session) -> str:
    stats = session.stats
    return (
        f"{counted(stats.sequences, 'prompt')}, {counted(stats.tokens, 'token')}: "
        f"{format_speed(stats.tokens_per_second)} tokens/s in all, first after {format_seconds(stats.ttft_seconds)}."
    )


class _Shown:
    """The table of prompts and texts: it grows in a notebook; elsewhere it is printed at the end."""

    def __init__(self, prompts: Sequence[str], session: Session, pictures: bool) -> None:
        self._prompts, self._session, self._shown = prompts, session, 0.0
        self._place: Any = None
        if pictures:
            from IPython.display import display

            self._place = display(self._view(""), display_id=True)

    def _view(self, words: str) -> StaticView:
        texts = self._session.texts
        return StaticView(batch_html(self._prompts, texts, words), batch_text(self._prompts, texts, words))

    def __call__(self, item: BatchStep | Event) -> None:
        """Show the texts so far, a few times a second."""
        now = time.monotonic()
        if self._place is not None and isinstance(item, BatchStep) and now - self._shown > 0.1:
            self._shown = now
            self._place.update(self._view(f"{counted(self._session.stats.tokens, 'token')} so far."))

    def done(self, words: str) -> None:
        """Leave the whole table and the speed of all together."""
        if self._place is not None:
            self._place.update(self._view(words))
        else:
            print(batch_text(self._prompts, self._session.texts, words))
