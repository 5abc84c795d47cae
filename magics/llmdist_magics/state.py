"""The one session of a notebook, and the border where core errors become `UsageError`."""

from __future__ import annotations

import argparse
import keyword
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Condition
from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from llmdist.errors import LlmdistError
from llmdist.planner import ColonyParameters
from llmdist.session import Session

from .background import Background
from .config import LLMDist
from .front import Fronts
from .prompts import Conversation
from .wording import sentence

__all__ = ["SessionState", "user_errors"]


DRAFT_TOKENS = 4  # of --speculate, where no number is written


class SessionState:
    """Holds the session that the magics share; the user sees it as ``llm``."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.session: Any = None
        self.editor: Any = None
        self.fronts = Fronts()
        self.config = LLMDist(parent=shell)
        self.conversation = Conversation()
        self.lesson: int | None = None
        self.loading: Background | None = None
        self._uses, self._idle = 0, Condition()

    def frozen(self, options: argparse.Namespace) -> argparse.Namespace:
        """Return `options` with the lesson's seed, in a lesson and where none was written."""
        if self.lesson is not None and options.seed is None:
            options.seed = self.lesson
        return options

    def colony(self) -> ColonyParameters | None:
        """Return how every search goes under %config LLMDist; None in a lesson, where all searches are alike."""
        return self.config.colony() if self.lesson is None else None

    def require(self) -> Any:
        """Return the session; UsageError when no model is loaded."""
        if self.session is None and self.loading is not None and self.loading.running:
            raise UsageError(f"No model is loaded yet; the {self.loading.poll()}. Wait for its end and run this again.")
        if self.session is None:
            raise UsageError("No model is loaded: run %llm_load demo or %llm_load FOLDER first.")
        self.session.calibrate = self.config.calibrate and self.lesson is None
        return self.session

    def say_in_use(self, quiet: bool) -> None:
        """Say which model works, where the one that will take its place is still being loaded."""
        if self.loading is not None and self.loading.running and self.session is not None and not quiet:
            print(f"This runs on {self.session.model_name}; the {self.loading.poll()}.")

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep the session in its place meanwhile."""
        with self._idle:
            self._uses += 1
        try:
            yield
        finally:
            with self._idle:
                self._uses -= 1
                self._idle.notify_all()

    def held(self) -> ExitStack:
        """Return a use of the session that lasts until it is closed, by whichever thread."""
        stack = ExitStack()
        stack.enter_context(self.used())
        return stack

    def when_idle(self, work: Callable[[], None], waits: Callable[[], None]) -> None:
        """Do `work` as soon as nothing runs in the session, while nothing can begin; `waits` is called until then."""
        with self._idle:
            while self._uses or (self.session is not None and self.session.generating):
                waits()
                self._idle.wait(0.1)
            work()

    def guesses(self, options: argparse.Namespace) -> dict[str, Any]:
        """Return what --speculate and --draft-tokens ask for; UsageError for the second without the first."""
        if options.speculate is None and options.draft_tokens is not None:
            raise UsageError(
                f"--draft-tokens {options.draft_tokens} means nothing without --speculate; add --speculate ngram, or "
                "leave it out."
            )
        tokens = DRAFT_TOKENS if options.draft_tokens is None else options.draft_tokens
        return {"speculate": self._draft(options.speculate), "draft_tokens": tokens}

    def _draft(self, name: str | None) -> Any:
        """Return what --speculate names: None, ``ngram``, or the Session in a variable; UsageError for neither."""
        if name is None or name == "ngram":
            return name
        found = self.shell.user_ns.get(name)
        if not isinstance(found, Session):
            what = f"holds {type(found).__name__}" if name in self.shell.user_ns else "is not there"
            raise UsageError(
                f"--speculate {name}: the variable {name} {what}; give ngram, or load a smaller model first: "
                f"{name} = llmdist.load(...)."
            )
        return found

    def check_name(self, name: str | None) -> None:
        """UsageError when --out names nothing that can be a variable."""
        if name is not None and (not name.isidentifier() or keyword.iskeyword(name)):
            raise UsageError(f"--out {name}: a variable cannot have that name; write for example --out answer.")

    def keep(self, name: str | None, value: Any) -> None:
        """Store `value` in the variable that --out names."""
        if name is not None:
            self.shell.user_ns[name] = value

    def replace(self, session: Any) -> None:
        """Take a new session (or None) and unload the former one."""
        former, self.session = self.session, session
        if session is not None:
            self.shell.user_ns["llm"] = session
        elif self.shell.user_ns.get("llm") is former:
            self.shell.user_ns.pop("llm", None)
        self.conversation.reset()
        if self.editor is not None:
            self.editor.close()
            self.editor = None
        self.fronts.close()
        if former is not None:
            former.unload()


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn LlmdistError into UsageError, in one sentence without a traceback."""
    try:
        yield
    except LlmdistError as error:
        raise UsageError(sentence(error)) from None
