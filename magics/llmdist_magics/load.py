"""`%llm_load`: open a model; the former session is unloaded only once the new one opened.

With --background a thread does it: the cell ends at once, its bar goes on, and the machine's picture takes its place.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from html import escape
from pathlib import Path
from threading import Event as Flag
from typing import Any

from IPython.core.error import UsageError

import llmdist
from llmdist.errors import ModelError
from llmdist.events import Event, Observer, Progressed, WorkFinished
from llmdist.progress import finished_words, progress_words
from llmdist.session import Session
from llmdist_widgets.live import StaticView, in_notebook
from llmdist_widgets.status import status_html

from .arguments import parse
from .background import Background
from .progress import SAY_AFTER, Progress, bar
from .state import SessionState, user_errors
from .wording import sentence

__all__ = ["load"]


def load(state: SessionState, line: str) -> Session | Background | None:
    """Load a model into the state and describe it; return the session with -o, a handle with --background."""
    options = parse("llm_load", line)
    state.check_name(options.out)
    if state.loading is not None and state.loading.running:
        raise UsageError(f"%llm_load: a {state.loading.poll()}; wait for its end, or stop it with %llm_unload.")
    if options.revision is not None and (options.model == "demo" or Path(options.model).expanduser().exists()):
        what = "the bundled model" if options.model == "demo" else "a folder"
        raise UsageError(
            f"%llm_load: --revision {options.revision} means nothing for {options.model}, which is {what}; leave it "
            "out, or give a hub name such as Qwen/Qwen3-8B."
        )
    pictures = in_notebook() and state.config.views and not options.quiet
    if options.background:
        return _in_background(state, options, pictures)
    progress = Progress(options.quiet, pictures)
    with user_errors():
        try:
            session = _opened(state, options, progress)
        except KeyboardInterrupt:
            now = "no model is loaded" if state.session is None else f"{state.session.model_name} is still loaded"
            raise UsageError(f"The load of {options.model} was stopped; {now}.") from None
        finally:
            progress.close()
        _hold(state, options, session)
    show_session(session, pictures, options.quiet)
    state.keep(options.out, session)
    return session if options.output else None


def _opened(state: SessionState, options: argparse.Namespace, progress: Observer) -> Session:
    session = llmdist.load(
        options.model, revision=options.revision, isolate=not options.inline, progress=progress,
        calibrate=state.config.calibrate and options.lesson is None,
    )  # fmt: skip
    session.on_progress = None  # the cell that loads weights shows it
    return session


def _hold(state: SessionState, options: argparse.Namespace, session: Session) -> None:
    state.lesson = options.lesson
    state.replace(session)


def show_session(session: Session, pictures: bool, quiet: bool) -> None:
    """Show the machine as a picture in a notebook, as text elsewhere, not at all when `quiet`."""
    if pictures:
        from IPython.display import display

        display(StaticView(status_html(session), session.describe()))
    elif not quiet:
        print(session.describe())


def _in_background(state: SessionState, options: argparse.Namespace, pictures: bool) -> Background:
    shown = _Shown(options.model, pictures)

    def work() -> Session:
        try:
            session = _opened(state, options, shown)
            shown.check()
            state.when_idle(partial(_hold, state, options, session), shown.waits)
        except BaseException as error:
            shown.failed(sentence(error))
            raise
        shown.done(session, options.quiet)
        return session

    state.loading = Background("load", None, work, shown.stopped.set, lambda: shown.words)
    state.keep(options.out, state.loading)
    return state.loading


class _Shown:
    """What a load in the background shows: a bar in its cell, words for `poll`, in a terminal its end in one line."""

    def __init__(self, model: str, pictures: bool) -> None:
        self.stopped = Flag()
        self.words = f"opening {model}"
        self._model, self._at = model, 0.0
        self._sentences: list[str] = []
        self._place: Any = None
        if pictures:
            from IPython.display import display

            self._place = display(bar(self.words), display_id=True)

    def check(self) -> None:
        """Raise where the handle's stop() was called."""
        if self.stopped.is_set():
            raise ModelError(f"The load of {self._model} was stopped; what was in force before still is.")

    def waits(self) -> None:
        """Say that the model is open, and what keeps it from being the session."""
        self.check()
        words = f"{self._model} is open, and waits for the end of what runs in the model before"
        if self._place is not None and words != self.words:
            self._place.update(bar(words))
        self.words = words

    def __call__(self, event: Event) -> None:
        """Show how far the work is."""
        self.check()
        if isinstance(event, WorkFinished):
            self._sentences += [finished_words(event)] if event.seconds >= SAY_AFTER else []
        elif isinstance(event, Progressed):
            self.words = progress_words(event)
            if self._place is not None and time.monotonic() - self._at >= 0.1:
                self._at = time.monotonic()
                self._place.update(bar(self.words, event.share))

    def done(self, session: Session, quiet: bool) -> None:
        """Put the machine in the bar's place."""
        self.words = f"{self._model} is loaded"
        said = "\n".join(self._sentences)
        if self._place is not None:
            html = "".join(f"<div>{escape(line)}</div>" for line in self._sentences)
            self._place.update(StaticView(html + status_html(session), f"{said}\n{session.describe()}".lstrip()))
        elif not quiet:
            print(f"{said} {self.words}; the session is named llm.".lstrip())

    def failed(self, words: str) -> None:
        """Say why there is no model."""
        if self._place is not None:
            self._place.update(StaticView(f"<div><b>Not loaded.</b> {escape(words)}</div>", f"Not loaded. {words}"))
        else:
            print(f"Not loaded. {words}")
