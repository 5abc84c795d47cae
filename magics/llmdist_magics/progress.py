"""Progress of downloads, loads and measuring: a bar in a notebook, one line in a terminal, some lines in a log.

What took a moment or made something leaves its sentence; with `-q` nothing is shown at all.
"""

from __future__ import annotations

import sys
import time
from html import escape
from typing import Any

from llmdist.events import Event, Progressed, WorkFinished
from llmdist.progress import finished_words, progress_words
from llmdist_widgets.live import StaticView, in_notebook

__all__ = ["Progress", "bar"]

SHOW_AFTER = 0.3  # seconds; shorter work shows no bar
SAY_AFTER = 0.5  # shorter work leaves no sentence, unless it quantised blocks
LOG_EVERY = 10.0  # seconds between two lines of a log


def bar(words: str, share: float | None = None) -> StaticView:
    """Return a progress bar with its words; one that only moves where no share is known."""
    value = "" if share is None else f' value="{share:.3f}"'
    named = escape(words, quote=True)
    return StaticView(f'<div><progress max="1"{value} aria-label="{named}"></progress> {escape(words)}</div>', words)


class Progress:
    """An observer of work that takes a while; `close` removes the bar of work that ended early."""

    def __init__(self, quiet: bool = False, pictures: bool = True) -> None:
        self._quiet, self._pictures = quiet, pictures and in_notebook()
        self._place: Any = None
        self._shown = 0.0
        self._open = False  # a bar, or a line of a terminal, waits for its end

    def __call__(self, event: Event) -> None:
        """Show how far the work is, or say that it is done."""
        if self._quiet:
            return
        if isinstance(event, Progressed) and event.elapsed_seconds >= SHOW_AFTER:
            self._show(event)
        elif isinstance(event, Progressed) and event.work == "download" and self._pictures:
            self._open_bar()  # from the thread of the cell, as the bytes are counted by others
        elif isinstance(event, WorkFinished):
            self.close()
            if event.seconds >= SAY_AFTER or event.made:
                print(finished_words(event))

    def _show(self, event: Progressed) -> None:
        every = 0.1 if self._pictures or sys.stderr.isatty() else LOG_EVERY
        now = time.monotonic()
        if now - self._shown < every:
            return
        self._shown, words = now, progress_words(event)
        if self._pictures:
            self._open_bar()
            self._place.update(bar(words, event.share))
        elif sys.stderr.isatty():
            print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)
        else:
            print(words, file=sys.stderr, flush=True)
        self._open = True

    def _open_bar(self) -> None:
        from IPython.display import display

        if self._place is None:
            self._place = display(StaticView("", ""), display_id=True)

    def close(self) -> None:
        """Remove the bar, or the terminal's line; a log keeps its lines."""
        if self._place is not None:
            self._place.update(StaticView("", ""))
        elif self._open and sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        self._open = False
