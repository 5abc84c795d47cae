"""What the browser may ask of the editor: one small message per click, answered by one sentence.

A message is a dict with ``do`` and what belongs to it. Nothing here knows a widget, so a test can send messages too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llmdist.errors import PlanError

from .editor import PlacementEditor

__all__ = ["EDITS", "obey"]

#: Messages that change the draft: the browser has shown their effect already and waits for confirmation.
EDITS = ("set", "lock", "undo", "redo")


def _set(editor: PlacementEditor, message: Mapping[str, Any]) -> str:
    editor.draft.set({int(block): int(option) for block, option in message["changes"]})
    return ""


def _lock(editor: PlacementEditor, message: Mapping[str, Any]) -> str:
    editor.draft.lock([int(block) for block in message["blocks"]], bool(message["on"]))
    return ""


def _undo(editor: PlacementEditor, message: Mapping[str, Any]) -> str:
    return "" if editor.draft.undo() else "There is nothing to undo."


def _redo(editor: PlacementEditor, message: Mapping[str, Any]) -> str:
    return "" if editor.draft.redo() else "There is nothing to redo."


def _path(message: Mapping[str, Any]) -> str:
    path = str(message.get("path", "")).strip()
    if not path:
        raise PlanError("No file was named: write its name into the field, such as my-plan.json.")
    return path


def _compare(editor: PlacementEditor, message: Mapping[str, Any]) -> str:
    if message.get("end"):
        editor.compared = None
        return "The comparison is closed."
    compared = editor.compare(str(message.get("path", "")).strip() or None)
    return f"{compared.differing()} from {compared.name}."


def _stop(editor: PlacementEditor, message: Mapping[str, Any]) -> str:
    editor.stop_search()
    return "The ants stop and bring the best that they found."


_COMMANDS: dict[str, Callable[[PlacementEditor, Mapping[str, Any]], str]] = {
    "set": _set,
    "lock": _lock,
    "undo": _undo,
    "redo": _redo,
    "apply": lambda editor, _: editor.apply(),
    "revert": lambda editor, _: editor.revert(),
    "stop": _stop,
    "save": lambda editor, message: editor.save(_path(message)),
    "load": lambda editor, message: editor.load(_path(message)),
    "compare": _compare,
}


def obey(editor: PlacementEditor, message: Mapping[str, Any]) -> str:
    """Do what `message` asks and return what to say, or nothing.

    Raises
    ------
    PlanError : the request cannot be fulfilled. KeyError, TypeError, ValueError : the message is malformed.
    """
    with editor.lock_of_draft:
        return _COMMANDS[message["do"]](editor, message)
