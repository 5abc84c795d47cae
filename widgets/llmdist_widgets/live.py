"""Views that move while the ants search and while tokens come, then leave a static copy behind.

Without a notebook frontend (terminal IPython) nothing is displayed and the caller prints text.
State goes to the browser at most 15 times a second; the last state is always the static copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython.core.getipython import get_ipython
from IPython.display import display

from llmdist.events import (
    Event,
    GenerationStarted,
    IterationFinished,
    PlanStarted,
    TokenProduced,
)
from llmdist.planner.result import PlanResult

from .generation import generation_html
from .planning import plan_html

__all__ = ["LiveGeneration", "LivePlan", "LiveView", "StaticView", "in_notebook"]

MINIMUM_SECONDS = 1 / 15


def in_notebook() -> bool:
    """Return whether this code runs in a kernel, so that pictures can be shown."""
    return getattr(get_ipython(), "kernel", None) is not None


class StaticView:
    """HTML with a plain-text form; what a saved notebook keeps."""

    def __init__(self, html: str, text: str) -> None:
        self.html, self.text = html, text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}


class LiveView(anywidget.AnyWidget):
    """Draws `state` in the browser; the Stop button sends the message ``stop``."""

    _esm = Path(__file__).parent / "static" / "live.js"
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, on_stop: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._on_stop = on_stop
        self.on_msg(self._received)

    def _received(self, _: Any, content: Any, buffers: Any) -> None:
        if content == "stop" and self._on_stop:
            self._on_stop()


class _Live:
    """A widget on display that is fed at most 15 times a second and then frozen."""

    def __init__(self, on_stop: Callable[[], None] | None = None) -> None:
        self.events: list[Event] = []
        self._view = LiveView(on_stop)
        self._place = display(self._view, display_id=True)
        self._sent = 0.0

    def _push(self, state: dict[str, Any]) -> None:
        self._view.state = state
        self._sent = time.monotonic()

    def _due(self) -> bool:
        return time.monotonic() - self._sent >= MINIMUM_SECONDS

    def finish(self, html: str, text: str) -> None:
        """Replace the widget by its static copy."""
        if self._place is not None:
            self._place.update(StaticView(html, text))
        self._view.close()


class LivePlan(_Live):
    """An observer of a search."""

    def __init__(self) -> None:
        super().__init__()
        self._started: PlanStarted | None = None
        self._best: list[float] = []

    def __call__(self, event: Event) -> None:
        """Keep the event and show it when it is time."""
        self.events.append(event)
        if isinstance(event, PlanStarted):
            self._started = event
        elif isinstance(event, IterationFinished) and self._started:
            self._best.append(event.best * 1e3)
            if self._due():
                self._push(self._state(self._started, event))

    def _state(self, started: PlanStarted, event: IterationFinished) -> dict[str, Any]:
        stride = max(1, len(self._best) // 300)
        return {
            "phase": "plan",
            "options": started.options,
            "trail": [[round(255 * value) for value in row] for row in event.trail],
            "choice": event.best_choice,
            "iteration": event.iteration,
            "best": self._best[::stride] + self._best[-1:],
            "bound": event.bound * 1e3,
        }

    def done(self, plan: PlanResult) -> None:
        """Leave the static view of `plan`."""
        self.finish(plan_html(plan, self.events), plan.summary())


class LiveGeneration(_Live):
    """An observer of a generation, with a Stop button that calls `on_stop`."""

    def __init__(self, on_stop: Callable[[], None]) -> None:
        super().__init__(on_stop)
        self.text = ""
        self._speeds: list[float] = []
        self._started: GenerationStarted | None = None

    def __call__(self, event: Event) -> None:
        """Keep the event and show it when it is time."""
        self.events.append(event)
        if isinstance(event, GenerationStarted):
            self._started = event
        elif isinstance(event, TokenProduced):
            self.text += event.text
            if event.index and event.step_seconds > 0:
                self._speeds.append(1 / event.step_seconds)
            if self._due():
                self._push(self._state(event))

    def _state(self, event: TokenProduced) -> dict[str, Any]:
        started = self._started
        return {
            "phase": "generate",
            "text": self.text,
            "speeds": [round(speed, 2) for speed in self._speeds[-400:]],
            "predicted": started.predicted_tokens_per_second if started else 0,
            "memory": dict(event.memory_bytes),
            "caps": dict(started.cap_bytes) if started else {},
        }

    def done(self, text: str) -> None:
        """Leave the static view of the generation."""
        self.finish(generation_html(text, self.events), text)


def show(html: str, text: str) -> None:
    """Display a static view where there is a notebook."""
    display(StaticView(html, text))


def replay(plan: PlanResult, events: Sequence[Event]) -> StaticView:
    """Return the static view of a plan from recorded events."""
    return StaticView(plan_html(plan, events), plan.summary())
