"""What remains of the editor in a saved notebook: the draft's picture and text, without script."""

from __future__ import annotations

from html import escape

from .editor import PlacementEditor
from .planning import placement_svg
from .svg import image
from .theme import HTML_STYLE

__all__ = ["static_html"]


def static_html(editor: PlacementEditor, folded: bool) -> str:
    """Return the static copy; `folded` while the live editor stands above it."""
    locked = f"<div>Locked: {escape(', '.join(editor.locked))}</div>" if editor.locked else ""
    picture = image(placement_svg(editor.plan_of_draft()), editor.placement.in_words())
    facts = "".join(f"<div>{escape(line)}</div>" for line in editor.figures())
    body = f'<div style="{HTML_STYLE}">{facts}{locked}{picture}</div>'
    if not folded:
        return body
    return (
        f'<details style="{HTML_STYLE}"><summary style="cursor:pointer;opacity:.75">Static copy of the placement, '
        f"for the saved notebook</summary>{body}</details>"
    )
