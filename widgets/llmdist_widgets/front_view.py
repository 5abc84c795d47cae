"""A Pareto front on a screen: a click on a point or a row picks that plan; a static copy lies folded below it.

The widget shows the picture and the words of `front`; nothing is computed in the browser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython.display import display

from llmdist.errors import LlmdistError
from llmdist.planner import ParetoFront, PlanResult

from .front import front_html, front_svg
from .live import StaticView, answer_at_once
from .theme import HTML_STYLE

__all__ = ["FrontView"]

STATIC = Path(__file__).parent / "static"


class FrontWidget(anywidget.AnyWidget):
    """Draws `front` (sent once) and `state`; a click is a message."""

    _esm = (STATIC / "front.js").read_text(encoding="utf-8")
    _css = (STATIC / "front.css").read_text(encoding="utf-8")
    front = traitlets.Dict().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)

    def __repr__(self) -> str:  # what a notebook shows in the widget's place while no kernel runs
        return "Pareto front to pick from, while its kernel runs; its static copy unfolds below."


class FrontView:
    """A front on display; `pick` puts a plan in force and returns it (None: nothing can be picked)."""

    def __init__(
        self, front: ParetoFront, pick: Callable[[int], PlanResult] | None = None, in_force: PlanResult | None = None
    ) -> None:
        self.front, self.in_force, self._pick = front, in_force, pick
        self.widget = FrontWidget()
        answer_at_once(self.widget)
        self.widget.on_msg(self._received)
        self._place: Any = None
        self._copy: Any = None
        self.widget.front = {
            "headings": front.HEADINGS, "rows": front.rows(), "can_pick": pick is not None,
        }  # fmt: skip
        click = "Click a point or a row to put that plan in force." if pick else "Simulated: nothing is put in force."
        self._tell(f"{front.headline()}. {click}")

    def show(self) -> None:
        """Display the widget and, folded below it, the copy that a saved notebook keeps."""
        self._place = display(self.widget, display_id=True)
        self._copy = display(self._static(), display_id=True)

    def close(self) -> None:
        """Put the static copy in the widget's place; picking ends."""
        if self._place is not None:
            self._place.update(StaticView(front_html(self.front, self.in_force), self.front.summary(self.in_force)))
            self._copy.update(StaticView("", ""))
        self.widget.close()

    def picked(self, plan: PlanResult) -> None:
        """Mark `plan` as the one in force, wherever it was picked."""
        self.in_force = plan
        number = self.front.number_of(plan)
        own = self.front[number - 1].cells() if number else ("", "", "", "", "")
        self._tell(f"Plan {number} is in force: {own[0]} tokens/s predicted in {own[1]}, loss of quality {own[2]}.")
        if self._copy is not None:
            self._copy.update(self._static())

    def _static(self) -> StaticView:
        body = front_html(self.front, self.in_force)
        folded = (
            f'<details style="{HTML_STYLE}"><summary style="cursor:pointer;opacity:.75">Static copy of the front, '
            f"for the saved notebook</summary>{body}</details>"
        )
        return StaticView(folded, self.front.summary(self.in_force))

    def _tell(self, words: str, failed: bool = False) -> None:
        self.widget.state = {
            "chosen": self.front.number_of(self.in_force), "said": words, "failed": failed,
            "picture": front_svg(self.front, self.in_force),
        }  # fmt: skip

    def _received(self, _: Any, content: Any, buffers: Any) -> None:
        if not isinstance(content, Mapping) or content.get("ask") != "pick" or self._pick is None:
            return
        try:
            self.picked(self._pick(int(content["plan"])))
        except LlmdistError as error:
            self._tell(" ".join(str(error).split()), failed=True)
