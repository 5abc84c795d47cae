"""Prompts and their texts as a table: what a batch made, as HTML and as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .theme import HTML_STYLE

__all__ = ["batch_html", "batch_text"]

_CELL = "text-align:left;vertical-align:top;padding:4px 12px 4px 0;white-space:pre-wrap;overflow-wrap:anywhere"


def batch_html(prompts: Sequence[str], texts: Sequence[str], words: str) -> str:
    """Return a table of prompt and text under `words`."""
    head = "".join(f'<th scope="col" style="{_CELL}">{name}</th>' for name in ("#", "prompt", "text"))
    rows = "".join(
        f'<tr><td style="{_CELL};opacity:.75">{number}</td><td style="{_CELL}">{escape(prompt)}</td>'
        f'<td style="{_CELL}">{escape(text.lstrip())}</td></tr>'
        for number, (prompt, text) in enumerate(zip(prompts, _filled(texts, len(prompts)), strict=True), 1)
    )
    return (
        f'<div style="{HTML_STYLE}"><div>{escape(words)}</div><table style="border-collapse:collapse;margin:4px 0">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def batch_text(prompts: Sequence[str], texts: Sequence[str], words: str) -> str:
    """Return each prompt with its text, numbered, and `words` below."""
    filled = _filled(texts, len(prompts))
    parts = [f"[{n}] {prompt}{text}" for n, (prompt, text) in enumerate(zip(prompts, filled, strict=True), 1)]
    return "\n".join([*parts, words])


def _filled(texts: Sequence[str], count: int) -> list[str]:
    """Return `count` texts; before the first pass there are none yet."""
    return list(texts) if len(texts) == count else [""] * count
