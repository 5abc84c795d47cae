"""Views that move while the ants search and while tokens come, then leave a copy behind that needs no kernel.

Without a notebook frontend (terminal IPython) nothing is displayed and the caller prints text.
State goes to the browser at most ten times a second, less often where sending takes long; clicks only enqueue or set
a flag, so a busy cell hears them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import anywidget
import traitlets
from IPython.core.getipython import get_ipython
from IPython.display import display

from llmdist.events import Event, IterationFinished, PlanStarted
from llmdist.planner import MaxSeconds, PlanningProblem, PlanResult, solve

from .planning import plan_html
from .replay import script

__all__ = ["LivePlan", "LiveView", "StaticView", "answer_at_once", "in_notebook", "watch", "watched"]

Found = TypeVar("Found")
MINIMUM_SECONDS = 0.1
SHARE, LATEST_SECONDS = 0.02, 1.0
POINTS = 240


def in_notebook() -> bool:
    """Return whether this code runs in a kernel, so that pictures can be shown."""
    return getattr(get_ipython(), "kernel", None) is not None


class StaticView:
    """HTML with a plain-text form; what a saved notebook keeps."""

    def __init__(self, html: str, text: str) -> None:
        self.html, self.text = html, text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}


def answer_at_once(widget: anywidget.AnyWidget) -> None:
    """Let clicks arrive while a cell runs: ipykernel 7.4 sends them to the thread that last spoke, which is busy."""
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda data, default: default  # the frontend chose a free one


class LiveView(anywidget.AnyWidget):
    """Draws `setup` (sent once), `words` and `now` in the browser; `on_ask` gets what its buttons ask for.

    `words` are cheap to show and come often, `now` are the pictures' data; the browser paces both by what they take.
    """

    _esm = script("draw.js", "plots.js", "bars.js", "search.js", "timeline.js", "replay.js", "pace.js", "live.js")
    setup = traitlets.Dict().tag(sync=True)
    words = traitlets.Dict().tag(sync=True)
    now = traitlets.Dict().tag(sync=True)
    trail = traitlets.Bytes().tag(sync=True)

    def __init__(self, on_ask: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        super().__init__()
        self._on_ask = on_ask
        self.on_msg(self._received)
        answer_at_once(self)

    def __repr__(self) -> str:  # what a notebook shows in the widget's place while no kernel runs
        return "Live view; it leaves its lasting copy here when the work ends."

    def _received(self, _: Any, content: Any, buffers: Any) -> None:
        if isinstance(content, dict) and self._on_ask:
            self._on_ask(content)


class Live:
    """A widget on display that is fed a few times a second and then replaced by its lasting copy."""

    def __init__(self, on_ask: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        self.events: list[Event] = []
        self.pushes = 0
        self._view = LiveView(on_ask)
        self._place = display(self._view, display_id=True)
        self._sent = self._cost = 0.0

    def _push(self, **state: Any) -> None:
        began = time.thread_time()
        with self._view.hold_sync():
            for name, value in state.items():
                setattr(self._view, name, value)
        self.pushes += 1
        self._sent, self._cost = time.monotonic(), time.thread_time() - began

    def _due(self, seconds: float = MINIMUM_SECONDS) -> bool:
        """Return whether `seconds` have passed, and so many that sending takes at most a `SHARE` of a processor.

        One slow sending, such as the first, makes nobody wait for more than a second.
        """
        return time.monotonic() - self._sent >= max(seconds, min(LATEST_SECONDS, self._cost / SHARE))

    def finish(self, html: str, text: str) -> None:
        """Replace the widget by its lasting copy."""
        if self._place is not None:
            self._place.update(StaticView(html, text))
        self._view.close()


def thinned(values: Sequence[Any]) -> list[Any]:
    """Return at most about `POINTS` of `values`, the last one always."""
    stride = -(-len(values) // POINTS) or 1
    kept = list(values[::stride])
    return kept if not values or (len(values) - 1) % stride == 0 else [*kept, values[-1]]


class LivePlan(Live):
    """An observer of a search; `on_stop` ends it with the best plan so far."""

    def __init__(self, on_stop: Callable[[], None] | None = None) -> None:
        super().__init__(lambda content: on_stop() if on_stop and content.get("ask") == "stop" else None)
        self._can_stop = on_stop is not None
        self._rows: list[IterationFinished] = []

    def __call__(self, event: Event) -> None:
        """Keep the event and show it when it is time."""
        self.events.append(event)
        if isinstance(event, PlanStarted):
            self._rows = []
            width = max(map(len, event.options))
            self._view.setup = {
                "kind": "search", "blocks": event.blocks, "options": event.options, "width": width,
                "stop": self._can_stop,
            }  # fmt: skip
        elif isinstance(event, IterationFinished):
            self._rows.append(event)
            if self._due():
                self._show(event)

    def _show(self, event: IterationFinished) -> None:
        rows = thinned(self._rows)
        now = {
            "iterations": [row.iteration for row in rows],
            "best": [_finite(1e3 * row.best) for row in rows],
            "mean": [_finite(1e3 * row.mean) for row in rows],
            "entropy": [round(row.entropy, 3) for row in rows],
            "bound": _finite(1e3 * event.bound) or 0,
            "choice": event.best_choice,
        }
        trail = bytes(round(255 * value) for cells in event.trail for value in cells)
        self._push(now=now, trail=trail)

    def done(self, plan: PlanResult, words: str | None = None) -> None:
        """Show the last state, then leave the lasting view of `plan`; `words` are its text, else its summary."""
        if self._rows:
            self._show(self._rows[-1])
        self.finish(plan_html(plan, self.events), words or plan.summary())


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if abs(value) < 1e12 else None


def watched(view: LivePlan | None, work: Callable[..., Found], failure: str) -> Found:
    """Return what `work` finds while `view` shows its events; if it fails the view says `failure` in its place."""
    try:
        return work(on_event=view)
    except BaseException:
        if view is not None:
            view.finish(f"<i>{failure}</i>", failure)
        raise


def watch(problem: PlanningProblem, seconds: float = 2.0, seed: int = 0) -> PlanResult:
    """Search a placement of `problem` and show the ants at work; for any problem, such as one read from a file."""
    view = LivePlan() if in_notebook() else None
    result = solve(problem, seed=seed, stop=MaxSeconds(seconds), on_event=view)
    if view is not None:
        view.done(result)
    return result
