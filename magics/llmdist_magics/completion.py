"""Tab completion: the options of each magic, and ``demo`` for `%llm_load`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from .arguments import PARSERS, options_of

__all__ = ["install", "remove"]


def _completer(name: str) -> Callable[[Any, Any], list[str]]:
    def complete(_: Any, event: Any) -> list[str]:
        words = options_of(name)
        if name == "llm_load":
            words = ["demo", *words]
        return [word for word in words if word.startswith(event.symbol)]

    return complete


def _keys(name: str) -> tuple[str, ...]:
    return (f"%{name}", f"%%{name}") if name == "llm_generate" else (f"%{name}",)


def install(shell: InteractiveShell) -> None:
    """Register one completer per magic."""
    for name in PARSERS:
        for key in _keys(name):
            shell.set_hook("complete_command", _completer(name), str_key=key)


def remove(shell: InteractiveShell) -> None:
    """Take the completers away again."""
    dispatch = getattr(shell, "strdispatchers", {}).get("complete_command")
    for name in PARSERS:
        for key in _keys(name):
            if dispatch is not None:
                dispatch.strs.pop(key, None)
