"""A generation in a busy cell: a worker thread makes tokens, the cell's thread only waits, shows and hears Stop."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

from llmdist.events import Event, Observer, Progressed, WorkFinished
from llmdist.session import Session

__all__ = ["Arrived", "drain"]

#: Events and steps in the order in which they came.
Arrived = queue.Queue[Any]


def drain(
    session: Session, steps: Iterable[Any], arrived: Arrived, show: Callable[[Any | Event], None], progress: Observer
) -> bool:
    """Show what arrives until the worker ends; return whether it was stopped. What the worker raises is raised here."""

    def work() -> None:
        try:
            for step in steps:
                arrived.put(step)
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    threading.Thread(target=work, name="llm_generate", daemon=True).start()
    stopped = False
    while True:
        try:
            item = arrived.get(timeout=0.1)
            if item is None:
                return stopped
            if isinstance(item, BaseException):
                raise item
            (progress if isinstance(item, Progressed | WorkFinished) else show)(item)
        except queue.Empty:
            continue
        except KeyboardInterrupt:
            stopped = True
            session.cancel()
