"""Work in a busy cell: a worker thread does it, the cell's thread only waits, shows and hears Stop."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from IPython.core.error import UsageError

from llmdist.errors import InfeasibleError
from llmdist.events import Event, Observer, Progressed, WorkFinished
from llmdist.session import Session

__all__ = ["Arrived", "Search", "drain"]

#: Events and steps in the order in which they came.
Arrived = queue.Queue[Any]
Found = TypeVar("Found")


def drain(
    session: Session, steps: Iterable[Any], arrived: Arrived, show: Callable[[Any | Event], None], progress: Observer
) -> bool:
    """Show what arrives until the worker ends; return whether it was stopped. What the worker raises is raised here."""

    def work() -> None:
        for step in steps:
            arrived.put(step)

    def shown(item: Any) -> None:
        (progress if isinstance(item, Progressed | WorkFinished) else show)(item)

    return _attended(work, arrived, shown, session.cancel)


def _attended(
    work: Callable[[], Any], arrived: Arrived, show: Callable[[Any], None], stop: Callable[[], None],
    patience: float = float("inf"),
) -> bool:  # fmt: skip
    """Show what arrives until `work` ends; return whether it was stopped. What it raises is raised here.

    An interrupt calls `stop`; one more than `patience` of them is raised, and `work` goes on alone.
    """

    def run() -> None:
        try:
            work()
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    threading.Thread(target=run, name="llm_work", daemon=True).start()
    interrupts = 0
    while True:
        try:
            if interrupts:
                stop()  # again and again: work that had not begun yet did not hear the first one
            item = arrived.get(timeout=0.1)
            if item is None:
                return interrupts > 0
            if isinstance(item, BaseException):
                raise item
            show(item)
        except queue.Empty:
            continue
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts > patience:
                raise


class _GivenUp(Exception):
    """Ends the thread of a search that nobody waits for."""


class Search(Generic[Found]):
    """A search in a busy cell: an interrupt ends it with the best so far, a second one at once and with nothing.

    `work` is called with `on_event`; `stop` asks it to end after its iteration. `magic` is whose search it is.
    """

    def __init__(self, magic: str, work: Callable[..., Found], stop: Callable[[], None]) -> None:
        self._magic, self._work, self._stop = magic, work, stop
        self._stopped, self._given_up = threading.Event(), threading.Event()
        self._seconds = 0.0

    def __call__(self, on_event: Observer | None = None) -> Found:
        """Return what the search finds.

        Raises
        ------
        UsageError : it was stopped before it found anything.
        """
        found, arrived, began = list[Found](), Arrived(), time.monotonic()

        def heard(event: Event) -> None:
            if self._given_up.is_set():
                raise _GivenUp
            if on_event is not None:
                arrived.put(event)

        def stop() -> None:
            self._stopped.set()
            self._stop()

        try:
            _attended(lambda: found.append(self._work(on_event=heard)), arrived, on_event or _unseen, stop, patience=1)
        except (KeyboardInterrupt, InfeasibleError):
            if not self._stopped.is_set():
                raise
            self._given_up.set()
            raise UsageError(
                f"{self._magic} was stopped before it found anything; what was in force before still is."
            ) from None
        self._seconds = time.monotonic() - began
        return found[0]

    def say(self, words: str) -> None:
        """Say that the search was stopped, if it was, and with what."""
        if self._stopped.is_set():
            print(f"Stopped after {self._seconds:.1f} s{words}.")


def _unseen(event: Event) -> None:
    """Show nothing."""
