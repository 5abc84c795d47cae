"""Work that takes a while: what it tells while it lasts, and the sentence that stays when it is done.

Whoever works holds a `Meter` and says how far it is; whoever watches gets events and turns them into words here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .errors import GenerationError
from .events import Observer, Progressed, WorkFinished
from .units import format_amount, format_rate, format_seconds

if TYPE_CHECKING:
    from .stage.messages import Working

__all__ = ["LoadMeter", "Meter", "finished_words", "progress_words"]

_VERBS = {"download": "downloading", "measure": "measuring", "load": "loading"}


class Meter:
    """Tells `observe` how far a piece of work is; the time counts from here."""

    def __init__(self, work: str, observe: Observer | None) -> None:
        self.work, self._observe = work, observe or (lambda event: None)
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Return the seconds since the work began."""
        return time.monotonic() - self._began

    def share(self, what: str, share: float) -> None:
        """Say that `share` of the work is done, 0 to 1."""
        self._observe(Progressed(self.work, what, min(1.0, max(0.0, share)), 0, 0, self.elapsed))

    def bytes(self, what: str, done: int, total: int) -> None:
        """Say that `done` of `total` bytes are there."""
        share = min(1.0, done / total) if total else 0.0
        self._observe(Progressed(self.work, what, share, done, total, self.elapsed))

    def finish(self, what: str, nbytes: int = 0, made: dict[str, int] | None = None, kept: bool = True) -> None:
        """Say that the work is done."""
        self._observe(WorkFinished(self.work, what, nbytes, self.elapsed, made or {}, kept))


class LoadMeter:
    """Turns what a stage says of its load into events; a cancelled load ends at its next block."""

    def __init__(self, observe: Observer, cancelled: Callable[[], bool]) -> None:
        self._observe, self._cancelled = observe, cancelled
        self._meter: Meter | None = None
        self._made: dict[str, int] = {}

    def __call__(self, said: Working) -> None:
        if self._meter is None or said.done_bytes == 0:
            self._meter, self._made = Meter("load", self._observe), {}
        if said.made:
            self._made[said.made] = self._made.get(said.made, 0) + 1
        if self._cancelled():
            raise GenerationError(
                f"The load was stopped after {format_amount(said.done_bytes)} of {format_amount(said.total_bytes)}; "
                "what was read is freed again, and the next generation loads from the start."
            )
        if said.done_bytes < said.total_bytes:
            what = f"weights, making {said.made}" if said.made else "weights"
            self._meter.bytes(what, said.done_bytes, said.total_bytes)
        else:
            self._meter.finish("weights", said.total_bytes, self._made, said.kept)
            self._meter = None


def progress_words(event: Progressed) -> str:
    """Return how far the work is: share, bytes, rate and the time that is left."""
    parts = [f"{event.share:.0%}"]
    if event.total_bytes:
        parts = [f"{format_amount(event.done_bytes)} of {format_amount(event.total_bytes)} ({event.share:.0%})"]
        if event.elapsed_seconds > 0 and event.done_bytes:
            parts.append(format_rate(event.done_bytes / event.elapsed_seconds))
    if 0.03 < event.share < 1:
        left = event.elapsed_seconds * (1 - event.share) / event.share
        parts.append(f"about {left:.0f} s left" if left >= 1 else "less than 1 s left")
    return f"{_VERBS[event.work]} {event.what}: {', '.join(parts)}"


def finished_words(event: WorkFinished) -> str:
    """Return the sentence that stays."""
    if event.work == "measure":
        kept = "kept for the next load" if event.kept else "not kept, as other work ran beside it"
        return f"Measured {event.what} in {format_seconds(event.seconds)}; {kept}."
    verb = "Downloaded" if event.work == "download" else "Loaded"
    rate = f", {format_rate(event.nbytes / event.seconds)}" if event.seconds > 0 else ""
    words = f"{verb} {format_amount(event.nbytes)} of {event.what} in {format_seconds(event.seconds)}{rate}"
    if event.made:
        made = " and ".join(f"{name} for {count} block{'s' * (count != 1)}" for name, count in event.made.items())
        words += f"; made {made}, {'kept for the next load' if event.kept else 'not kept'}"
    return words + "."
