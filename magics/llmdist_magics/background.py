"""Work beside the notebook: the cell returns at once with a handle, and the view goes on.

One thread runs the work; the handle only reads and sets flags, so it may be used from any cell.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from IPython.core.error import UsageError

from llmdist.errors import LlmdistError
from llmdist.session import Session

from .wording import counted, sentence

__all__ = ["Background"]


class Background:
    """A running load, generation or search. `result` is its session, text or plan, once it ended.

    Examples: ``job.poll()``, ``job.text``, ``job.stop()``, ``job.wait(10)``.
    """

    def __init__(
        self, what: str, session: Session | None, work: Callable[[], Any], stop: Callable[[], None],
        so_far: Callable[[], str] = lambda: "", held: AbstractContextManager[Any] | None = None,
    ) -> None:  # fmt: skip
        self.what, self._session, self._so_far = what, session, so_far
        self._work, self._stop, self._held = work, stop, held or nullcontext()
        self._value: Any = None
        self.error: BaseException | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._run, name=f"llm_{what}", daemon=True).start()

    def _run(self) -> None:
        try:
            with self._held:
                self._value = self._work()
        except BaseException as error:  # told by wait, result and repr
            self.error = error
        finally:
            self._ended.set()

    @property
    def running(self) -> bool:
        """Return whether it still runs."""
        return not self._ended.is_set()

    @property
    def text(self) -> str:
        """Return the text so far; of a search its plan in words, of a load how far it is."""
        if self._session is not None and self.what == "generation":
            return str(self._value) if self._value is not None else self._session.text
        if self.what == "load":
            return self._so_far()
        return self._value.summary() if self._value is not None else ""

    def poll(self) -> str:
        """Return in one line how far it is; never waits."""
        stats = self._session.stats if self._session is not None and self.what == "generation" else None
        if self.running:
            done = f"{counted(stats.tokens, 'token')} so far" if stats is not None and stats.tokens else self._so_far()
            return f"{self.what} is running" + (f": {done}" if done else "")
        if self.error is not None:
            return f"{self.what} failed: {sentence(self.error)}"
        done = f": {stats.finish_reason}" if stats is not None else ""
        return f"{self.what} ended{done}"

    def stop(self) -> None:
        """Ask it to end; what was made so far is kept."""
        self._stop()

    def wait(self, seconds: float | None = None) -> Any:
        """Wait up to `seconds` (None: to the end) and return the result; None while it still runs."""
        self._ended.wait(seconds)
        return self.result

    @property
    def result(self) -> Any:
        """Return the text or the plan, None while it runs; a failure is raised as UsageError."""
        if isinstance(self.error, LlmdistError):
            raise UsageError(sentence(self.error))
        if self.error is not None:
            raise self.error
        return self._value

    def __repr__(self) -> str:
        return f"<{self.poll()}>"
