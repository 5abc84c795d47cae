"""Progress of loading and measuring: a bar in a notebook, one line in a terminal, one line per step in a log.

Downloads bring huggingface_hub's own bars, with bytes, rate and time left.
"""

from __future__ import annotations

import sys
import time
from html import escape
from typing import Any

from llmdist.units import format_seconds
from llmdist_widgets.live import StaticView, in_notebook

__all__ = ["Progress"]


class Progress:
    """Called with (what, fraction); `close` removes what was shown."""

    def __init__(self, verb: str, pictures: bool = True) -> None:
        self._verb, self._pictures = verb, pictures and in_notebook()
        self._began = time.monotonic()
        self._place: Any = None
        self._shown = -1.0
        self._open = False  # a line of a terminal waits for its end

    def __call__(self, what: str, fraction: float) -> None:
        now = time.monotonic()
        if fraction < 1 and now - self._shown < 0.1:
            return
        self._shown = now
        words = self._words(what, min(1.0, max(0.0, fraction)), now - self._began)
        if self._pictures:
            self._display(words, fraction)
        elif sys.stderr.isatty():
            print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)
            self._open = True
        elif fraction >= 1:
            print(words, file=sys.stderr)

    def _words(self, what: str, fraction: float, elapsed: float) -> str:
        left = f", about {format_seconds(elapsed * (1 - fraction) / fraction)} left" if 0.05 < fraction < 1 else ""
        return f"{self._verb} {what}: {fraction:.0%} after {format_seconds(elapsed)}{left}"

    def _display(self, words: str, fraction: float) -> None:
        from IPython.display import display

        bar = f'<progress max="1" value="{fraction:.3f}" aria-label="{escape(words, quote=True)}"></progress>'
        view = StaticView(f"<div>{bar} {escape(words)}</div>", words)
        if self._place is None:
            self._place = display(view, display_id=True)
        else:
            self._place.update(view)

    def close(self) -> None:
        """Remove the bar, or the terminal's line; a log keeps its lines."""
        if self._place is not None:
            self._place.update(StaticView("", ""))
        if self._open:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
