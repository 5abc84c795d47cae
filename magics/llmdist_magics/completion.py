"""Tab completion: options, their values, model names and, for the placement editor, blocks and places."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from llmdist.hardware.catalog import machines
from llmdist.model.blocks import BYTES_PER_PARAMETER
from llmdist.model.shapes import shapes

from .arguments import PARSERS, options_of
from .place import place_words

__all__ = ["cached_models", "install", "remove"]

_CATALOGS: dict[str, Callable[[], Iterable[str]]] = {"--machine": machines, "--model-shape": shapes}
_SIZES = ("1GiB", "2GiB", "4GiB", "8GiB", "16GiB", "24GiB", "32GiB", "64GiB")


def cached_models() -> list[str]:
    """Return the hub models whose files lie in the Hugging Face cache of this machine, without asking the hub."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    if not cache.is_dir():
        return []
    return sorted(p.name.removeprefix("models--").replace("--", "/") for p in cache.glob("models--*--*") if p.is_dir())


def _folders(symbol: str) -> list[str]:
    """Return the folders that `symbol` begins, those of checkpoints without a slash at the end."""
    base = Path(symbol).expanduser() if symbol.endswith("/") else Path(symbol or ".").expanduser().parent
    prefix = symbol[: symbol.rfind("/") + 1]
    if not base.is_dir():
        return []
    found = [p for p in sorted(base.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    return [f"{prefix}{p.name}" + ("" if (p / "config.json").is_file() else "/") for p in found]


def _values(option: str, symbol: str) -> list[str]:
    """Return the values that fit after `option`; none where any text does."""
    if option in ("--vram", "--ram"):
        return list(_SIZES)
    if option == "--objective":
        return ["latency", "finish"]
    if option in _CATALOGS:
        return list(_CATALOGS[option]())
    if option == "--precision":
        before = symbol[: symbol.rfind(",") + 1]
        return [before + name for name in BYTES_PER_PARAMETER if name not in before.split(",")]
    return []


def _words(name: str, typed: Sequence[str], symbol: str, session: Any) -> list[str]:
    options = {s: action for action in PARSERS[name]._actions for s in action.option_strings}
    before = options.get(typed[-1]) if typed else None
    if before is not None and before.nargs != 0:
        return _values(typed[-1], symbol)
    words = options_of(name)
    if name == "llm_load":
        return ["demo", *cached_models(), *_folders(symbol), *words]
    if name == "llm_place":
        return [*place_words(session, [word for word in typed if not word.startswith("-")]), *words]
    return words


def _completer(name: str, session_of: Callable[[], Any]) -> Callable[[Any, Any], list[str]]:
    def complete(_: Any, event: Any) -> list[str]:
        before = event.line[: -len(event.symbol)] if event.symbol else event.line
        words = _words(name, before.split()[1:], event.symbol, session_of())
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
