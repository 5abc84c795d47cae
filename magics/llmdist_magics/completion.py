"""Tab completion: the options of each magic, ``demo`` for `%llm_load`, known machines and models for `%llm_plan`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from llmdist.hardware.catalog import machines
from llmdist.model.shapes import shapes

from .arguments import PARSERS, options_of
from .place import place_words

__all__ = ["install", "remove"]

_VALUES = {"--machine": machines, "--model-shape": shapes}


def _completer(name: str, session_of: Callable[[], Any]) -> Callable[[Any, Any], list[str]]:
    def complete(_: Any, event: Any) -> list[str]:
        words = options_of(name)
        before = event.line[: len(event.line) - len(event.symbol)].split()
        if before and before[-1] in _VALUES:
            words = list(_VALUES[before[-1]]())
        elif name == "llm_place":
            typed = [word for word in before[1:] if not word.startswith("-")]
            words = [*place_words(session_of(), typed), *words]
        elif name == "llm_load":
            words = ["demo", *words]
        return [word for word in words if word.startswith(event.symbol)]

    return complete


def _keys(name: str) -> tuple[str, ...]:
    return (f"%{name}", f"%%{name}") if name == "llm_generate" else (f"%{name}",)


def install(shell: InteractiveShell, session_of: Callable[[], Any]) -> None:
    """Register one completer per magic; `session_of` gives the session that is loaded then."""
    for name in PARSERS:
        for key in _keys(name):
            shell.set_hook("complete_command", _completer(name, session_of), str_key=key)


def remove(shell: InteractiveShell) -> None:
    """Take the completers away again."""
    dispatch = getattr(shell, "strdispatchers", {}).get("complete_command")
    for name in PARSERS:
        for key in _keys(name):
            if dispatch is not None:
                dispatch.strs.pop(key, None)
