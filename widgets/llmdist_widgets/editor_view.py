"""The editor on a screen: a widget whose clicks are queued, and one thread that obeys them in order.

The browser predicts on its own; this side confirms. A callback only enqueues, so that a click neither blocks the
kernel nor is lost while it is busy. The ants run in a thread of their own; what they find is queued as well.
"""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from statistics import median
from threading import Thread, current_thread
from typing import Any

import anywidget
import traitlets
from IPython.display import display

from llmdist.errors import LlmdistError
from llmdist.events import Event, IterationFinished, TokenProduced

from .editor import PlacementEditor
from .editor_commands import EDITS, obey
from .editor_static import static_html
from .live import StaticView

__all__ = ["EditorView", "EditorWidget", "bundle"]

STATIC = Path(__file__).parent / "static"
MODULES = ("editor_cost", "editor_state", "editor_words", "editor_grid", "editor_panel", "editor")
MINIMUM_SECONDS = 1 / 15
IDLE_SECONDS = 0.5
_log = logging.getLogger(__name__)


def bundle() -> str:
    """Return the editor's modules as one: a widget is a single module, and its parts import only each other."""
    parts = []
    for name in MODULES:
        text = (STATIC / f"{name}.js").read_text(encoding="utf-8")
        text = re.sub(r'^import [^;]*? from "\./[^;]*;\n', "", text, flags=re.MULTILINE)
        parts.append(re.sub(r"^export (?!default)", "", text, flags=re.MULTILINE))
    return "\n".join(parts)


class EditorWidget(anywidget.AnyWidget):
    """Draws `state` over `tables`; every click is a message."""

    _esm = bundle()
    _css = (STATIC / "editor.css").read_text(encoding="utf-8")
    tables = traitlets.Dict().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    trail = traitlets.Bytes().tag(sync=True)
    search = traitlets.Dict().tag(sync=True)
    measured = traitlets.Float().tag(sync=True)

    def __repr__(self) -> str:  # what a notebook shows in the widget's place while no kernel runs
        return "Placement editor, while its kernel runs; its static copy unfolds below."


def _answer_at_once(widget: EditorWidget) -> None:
    """Let clicks arrive while a cell runs: newer kernels route them back to the busy main thread otherwise."""
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda data, default: default


class EditorView:
    """One editor on display."""

    def __init__(self, editor: PlacementEditor) -> None:
        self.editor = editor
        self.widget = EditorWidget()
        _answer_at_once(self.widget)
        self._queue: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._ack, self._note, self._notes, self._failed = 0, "", 0, False
        self._why: dict[str, Any] = {}
        self._version = 0
        self._sent_tables: dict[str, Any] | None = None
        self._searching: Thread | None = None
        self._trail_sent = 0.0
        self._copy: Any = None
        self._place: Any = None
        self._copied: object = None
        self.widget.on_msg(self._received)
        editor.on_change = self._changed
        self._worker = Thread(target=self._serve, name="llm_place", daemon=True)
        self.push()
        self._worker.start()

    def show(self) -> None:
        """Display the widget, and under it the folded static copy that a saved notebook keeps."""
        self._place = display(self.widget, display_id=True)
        self._copied = self.editor.draft.now
        self._copy = display(StaticView(static_html(self.editor, folded=True), ""), display_id=True)

    def freeze(self) -> None:
        """Put the static copy in the widget's place."""
        self._queue.put(None)
        if current_thread() is not self._worker:
            self._worker.join(timeout=5)
        if self._place is not None:
            self._place.update(StaticView(static_html(self.editor, folded=False), self.editor.summary()))
        if self._copy is not None:
            self._copy.update(StaticView("", ""))
        self.widget.close()

    # ---- messages -----------------------------------------------------------------------------------

    def _received(self, _: Any, content: Any, buffers: Any) -> None:
        if isinstance(content, dict):
            self._queue.put(content)

    def _changed(self) -> None:
        """The draft changed through the API: show it, unless this thread shows it anyway."""
        if current_thread() is not self._worker:
            self._queue.put({"do": "refresh"})

    def _serve(self) -> None:
        while True:
            try:
                message = self._queue.get(timeout=IDLE_SECONDS)
            except Empty:
                self._safely(self._idle)
                continue
            while message is not None:
                self._handle(message)
                try:
                    message = self._queue.get_nowait()
                except Empty:
                    break
            if message is None:
                return
            self._safely(self.push)

    def _safely(self, work: Any) -> None:
        try:
            work()
        except Exception:
            _log.exception("The placement editor could not be refreshed.")

    def _handle(self, message: dict[str, Any]) -> None:
        """Obey one message; a failure is said, never raised."""
        try:
            fresh = message.get("version", self._version) == self._version
            if message["do"] in EDITS:
                self._ack = int(message["seq"])
            if message["do"] == "why":
                self._why = {"block": int(message["block"]), "key": message["key"], "text": self._reason(message)}
            elif message["do"] == "replan":
                self._send_ants(float(message["seconds"]))
            elif message["do"] == "say":
                self._say(message["text"], message["failed"])
            elif message["do"] != "refresh" and fresh:
                said = obey(self.editor, message)
                if said:
                    self._say(said)
        except LlmdistError as error:
            self._say(str(error), failed=True)
        except Exception as error:
            _log.exception("The placement editor could not obey %r.", message)
            self._say(f"The editor has a fault of its own, please report it: {error!r}.", failed=True)

    def _say(self, text: str, failed: bool = False) -> None:
        self._note, self._failed, self._notes = text, failed, self._notes + 1

    def _reason(self, message: dict[str, Any]) -> str:
        return self.editor.why(self.editor.draft.names[int(message["block"])])

    # ---- the ants -----------------------------------------------------------------------------------

    def _send_ants(self, seconds: float) -> None:
        if self._searching is not None and self._searching.is_alive():
            return
        self._searching = Thread(target=self._search, args=(seconds,), name="llm_place_ants", daemon=True)
        self._searching.start()

    def _search(self, seconds: float) -> None:
        failed = False
        try:
            said = self.editor.replan(seconds, self._watch)
        except LlmdistError as error:
            said, failed = str(error), True
        except Exception as error:
            _log.exception("The ants failed.")
            said, failed = f"The ants failed, please report it: {error!r}.", True
        self._searching = None
        self.widget.search = {}
        self._queue.put({"do": "say", "text": said, "failed": failed})

    def _watch(self, event: Event) -> None:
        if isinstance(event, IterationFinished) and time.monotonic() - self._trail_sent >= MINIMUM_SECONDS:
            self._trail_sent = time.monotonic()
            self.widget.trail = self._trail_bytes(self.editor.widened(event.trail))
            best = {"iteration": event.iteration, "best": event.best, "bound": event.bound}
            self.widget.search = best | {"sent": time.time()}  # the browser can tell how late it is

    def _trail_bytes(self, trail: Any) -> bytes:
        width = self.editor.tables.shape[1]
        rows = ([round(255 * min(1.0, max(0.0, value))) for value in row] for row in trail)
        return b"".join(bytes(row).ljust(width, b"\0")[:width] for row in rows)

    # ---- state to the browser -----------------------------------------------------------------------

    def push(self) -> None:
        """Send the confirmed draft; the tables and the trail only when they changed."""
        editor = self.editor
        with editor.lock_of_draft:
            if self._sent_tables is not editor.packed:
                self._version, self._sent_tables = self._version + 1, editor.packed
                self.widget.tables = {**editor.packed, "version": self._version}
            if self._searching is None:
                self.widget.trail = self._trail_bytes(editor.trail)
            compared = editor.compared
            self.widget.state = {
                "version": self._version,
                "ack": self._ack,
                "choice": list(editor.draft.now.choice),
                "locked": sorted(editor.draft.now.locked),
                "base": None if editor.stale else list(editor.choice_in_force()),
                "undo": editor.draft.can_undo,
                "redo": editor.draft.can_redo,
                "note": {"text": self._note, "failed": self._failed, "number": self._notes},
                "searching": self._searching is not None,
                "why": self._why,
                "compare": None if compared is None else {
                    "name": compared.name, "choice": list(editor.draft.choice_of(compared.placement)),
                },
            }  # fmt: skip

    def _idle(self) -> None:
        """Between clicks: how fast tokens come, a plan made elsewhere, and the static copy."""
        self.widget.measured = self._measured()
        editor = self.editor
        base = None if editor.stale else list(editor.choice_in_force())
        if self.widget.state.get("base") != base:
            self.push()
        if self._copy is not None and self._searching is None and editor.draft.now is not self._copied:
            self._copied = editor.draft.now
            self._copy.update(StaticView(static_html(editor, folded=True), ""))

    def _measured(self) -> float:
        """Return the tokens/s of the last tokens of a running generation; 0 without one."""
        session = self.editor.session
        if not session.generating:
            return 0.0
        recent = [e for e in session.recorder.recent(64) if isinstance(e, TokenProduced) and e.index][-12:]
        seconds = median(e.step_seconds for e in recent) if recent else 0.0
        return round(1 / seconds, 2) if seconds > 0 else 0.0
