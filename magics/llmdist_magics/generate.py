"""`%llm_generate` and `%%llm_generate`: tokens come from a worker thread, so Stop always works.

The main thread only waits on a queue, prints and pushes; an interrupt cancels and keeps the text.
"""

from __future__ import annotations

import queue
import threading
from typing import Any

from IPython.core.error import UsageError

from llmdist.events import Event
from llmdist_widgets.live import LiveGeneration, in_notebook

from .arguments import parse_with_prompt
from .state import SessionState, user_errors

__all__ = ["generate"]

_OPTIONS = ("max_new_tokens", "temperature", "top_k", "top_p", "seed", "chat")


def generate(state: SessionState, line: str, cell: str | None = None) -> str | None:
    """Generate from the prompt after the options, or from the cell; return the text with -o."""
    options, prompt = parse_with_prompt("llm_generate", line)
    session = state.require()
    if cell is not None:
        if prompt:
            raise UsageError(
                "%%llm_generate: the first line takes options only; move the prompt below."
            )
        prompt = cell.removesuffix("\n")
    if not prompt:
        raise UsageError("%llm_generate: the prompt is empty; write it after the options.")
    arguments = {name: getattr(options, name) for name in _OPTIONS}
    arguments["stop"] = tuple(options.stop)
    with user_errors():
        view = LiveGeneration(session.cancel) if in_notebook() and not options.quiet else None
        try:
            _run(session, prompt, arguments, view)
        finally:
            if view:
                view.done(session.text or "")
    return session.text if options.output else None


def _run(session: Any, prompt: str, arguments: dict[str, Any], view: LiveGeneration | None) -> None:
    """Drain the worker's queue until it ends; print tokens where there is no view."""
    arrived: queue.Queue[Any] = queue.Queue()

    def work() -> None:
        try:
            for step in session.generate(prompt, on_event=arrived.put, **arguments):
                arrived.put(step.text)
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    threading.Thread(target=work, name="llm_generate", daemon=True).start()
    tokens, stopped = 0, False
    while True:
        try:
            item = arrived.get(timeout=0.1)
            if item is None:
                break
            if isinstance(item, BaseException):
                raise item
            tokens += isinstance(item, str)
            _show(item, view)
        except queue.Empty:
            continue
        except KeyboardInterrupt:
            stopped = True
            session.cancel()
    if view is None:
        print()
    if stopped:
        print(f"Stopped after {tokens} tokens; the text is kept in session.text.")


def _show(item: str | Event, view: LiveGeneration | None) -> None:
    if isinstance(item, str):
        if view is None:
            print(item, end="", flush=True)
    elif view is not None:
        view(item)
