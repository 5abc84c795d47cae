"""The view of a running generation: text, speed, memory, blocks, timeline; stop it, or ask what a smaller cap would do.

The view reads the session and never writes to it but through `cancel` and `apply`, which take effect between tokens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from llmdist.cost.timeline import Timeline, measured_timeline, predicted_timeline
from llmdist.errors import LlmdistError
from llmdist.events import (
    BlockComputed,
    CopyFinished,
    Event,
    GenerationStarted,
    PlacementChanged,
    Progressed,
    TokenProduced,
    WorkFinished,
)
from llmdist.planner import MaxSeconds, PlanResult, solve
from llmdist.progress import finished_words, progress_words
from llmdist.session import Session
from llmdist.units import format_bytes, format_speed

from .generation import generation_html
from .live import Live, thinned
from .replay import timeline_spans

__all__ = ["LiveGeneration"]

LOAD_SECONDS = 0.3  # a shorter load shows no bar
SHOWN_TEXT = 4000  # characters of the text's end while it grows; the lasting copy has all of it
WORDS_SECONDS = 0.25  # showing takes processor time from the engine; four times a second still reads as a stream
PICTURE_SECONDS = 1.0
FIRST_PICTURE_SECONDS = 2.0  # after the first token: pictures of a shorter text would go before they are read
WHAT_IF_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)


class LiveGeneration(Live):
    """An observer of a generation of `session`."""

    def __init__(self, session: Session) -> None:
        super().__init__(self._asked)
        self.session = session
        self.text = ""
        self._tokens: list[TokenProduced] = []
        self._steps: list[tuple[int, float]] = []  # (token index, tokens/s predicted from there on)
        self._note = ""
        self._loading: Progressed | None = None
        self._loaded = ""  # the sentence that stays where the cell that asked has ended
        self._pictured = 0.0
        self._plan: PlanResult | None = None
        self._line: Timeline | None = None

    def __call__(self, event: Event) -> None:
        """Keep the event and show it when it is time."""
        if isinstance(event, Progressed | WorkFinished):
            self._load(event)
            return
        self.events.append(event)
        if isinstance(event, GenerationStarted):
            self._steps = [(0, event.predicted_tokens_per_second)]
            self._begin(event)
        elif isinstance(event, PlacementChanged):
            self._steps.append((len(self._tokens), event.predicted_tokens_per_second))
            self._note = f"{len(event.moved_blocks)} blocks moved before token {len(self._tokens)}."
        elif isinstance(event, TokenProduced):
            self._loading = None
            self.text += event.text
            self._tokens.append(event)
            if event.index == 0:
                self._pictured = time.monotonic() + FIRST_PICTURE_SECONDS - PICTURE_SECONDS
            if self._due(WORDS_SECONDS):
                self._show(event)

    def _begin(self, event: GenerationStarted) -> None:
        plan = self.session.plan_result
        blocks = plan.placement.blocks if plan else ()
        setup: dict[str, Any] = {
            "kind": "generation", "blocks": blocks, "caps": dict(event.cap_bytes), "stop": True,
        }  # fmt: skip
        if plan:
            device = max(plan.prediction.peak_bytes, key=lambda name: _share(plan, name))
            used = plan.prediction.peak_bytes[device]
            setup["what_if"] = {"device": device, "sizes": [int(used * share) for share in WHAT_IF_SHARES]}
            self._device = device
        self._view.setup = setup

    def _load(self, event: Progressed | WorkFinished) -> None:
        """Show a load of weights; the moment of a small model is not worth a bar."""
        if isinstance(event, WorkFinished):
            self._loading = None
            self._loaded = finished_words(event) if event.made or event.seconds >= LOAD_SECONDS else ""
        elif event.elapsed_seconds >= LOAD_SECONDS and self._due(WORDS_SECONDS):
            self._loading = event
            self._push(words=self._words())

    def _show(self, event: TokenProduced) -> None:
        state: dict[str, Any] = {"words": self._words()}
        if time.monotonic() - self._pictured >= PICTURE_SECONDS:
            state["now"] = self._pictures(event)
            self._pictured = time.monotonic()
        self._push(**state)

    def _words(self) -> dict[str, Any]:
        end = self.text[-SHOWN_TEXT:]
        later = [token.step_seconds for token in self._tokens[-20:] if token.index and token.step_seconds > 0]
        speed = f", {format_speed(len(later) / sum(later))} tokens/s" if later else ""
        facts = f"{len(self._tokens)} tokens{speed}. {self._note}"
        words = {"text": end, "from": len(self.text) - len(end), "facts": facts}
        if self._loading is None:
            return words
        return words | {"facts": progress_words(self._loading), "share": round(self._loading.share, 3)}

    def _pictures(self, event: TokenProduced) -> dict[str, Any]:
        later = [token for token in self._tokens if token.index and token.step_seconds > 0]
        rows = thinned(later)
        mean = len(later) / sum(token.step_seconds for token in later) if later else 0.0
        return {
            "token": event.index,
            "xs": [token.index for token in rows],
            "speeds": [round(1 / token.step_seconds, 2) for token in rows],
            "predicted": [round(self._predicted(token.index), 3) for token in rows],
            "mean": round(mean, 3),
            "memory": dict(event.memory_bytes),
            "compute": self._milliseconds(event.computes),
            "copy": self._milliseconds(event.copies),
            "timeline": self._timeline(event),
        }

    def _predicted(self, index: int) -> float:
        return next(value for first, value in reversed(self._steps) if first <= index)

    def _milliseconds(self, spans: tuple[BlockComputed, ...] | tuple[CopyFinished, ...]) -> list[float]:
        if not spans:
            return [] if self._view.setup["blocks"] == () else [0.0] * len(self._view.setup["blocks"])
        taken = {span.block: 1e3 * (span.end_seconds - span.start_seconds) for span in spans}
        return [round(taken.get(name, 0.0), 4) for name in self._view.setup["blocks"]]

    def _timeline(self, event: TokenProduced) -> dict[str, Any]:
        plan = self.session.plan_result
        if plan is not None and plan is not self._plan:
            self._plan, self._line = plan, predicted_timeline(plan.problem, plan.placement)
        return timeline_spans(measured_timeline(event), self._line)

    def _asked(self, content: Mapping[str, Any]) -> None:
        if content.get("ask") == "stop":
            self.session.cancel()
        elif content.get("ask") == "what_if":
            threading.Thread(target=self._what_if, args=(int(content["cap"]),), daemon=True).start()

    def _what_if(self, cap: int) -> None:
        """Search a plan under a smaller cap and put it in force between two tokens; say it where none fits."""
        plan = self.session.plan_result
        if plan is None:
            return
        self._note = f"Searching a plan for {format_bytes(cap)} on {self._device} ..."
        try:
            problem = plan.problem.with_caps({self._device: cap})
            found = solve(problem, seed=plan.seed, stop=MaxSeconds(0.5), start=plan)
            self.session.apply(found.placement)
        except LlmdistError as error:
            self._note = str(error)

    def done(self, text: str) -> None:
        """Leave the lasting view."""
        self.finish(generation_html(text, self.events, plan=self.session.plan_result, note=self._loaded), text)


def _share(plan: PlanResult, device: str) -> float:
    disk = next(d.kind == "disk" for d in plan.problem.devices if d.name == device)
    return -1.0 if disk else plan.prediction.peak_bytes[device] / max(1, plan.problem.cap(device))
