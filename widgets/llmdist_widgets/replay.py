"""Saved views that move: a search with a slider through its history, a timeline that can be read span by span.

A static picture stands in the HTML; a script beside it replaces the picture where scripts are allowed (a trusted
notebook, an exported page) and is dropped where they are not. Everything is inline: no network, no kernel.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmdist.cost.timeline import Timeline
from llmdist.events import Event, IterationFinished, PlanStarted

__all__ = ["interactive", "script", "search_replay", "timeline_replay", "timeline_spans"]

STATIC = Path(__file__).parent / "static"
VIEW_BYTES = 59_000  # of one view in a saved notebook
MAXIMUM_FRAMES = 120
LEVELS = 15
REPLAYS = {"search": (("plots.js", "search.js"), "replaySearch"), "timeline": (("timeline.js",), "replayTimeline")}
KINDS = ("compute", "copy", "wait", "transfer", "pass")


def script(*names: str) -> str:
    """Return JavaScript files joined, without comment lines and indentation."""
    source = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in names)
    lines = (line.strip() for line in source.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def interactive(pictures: str, data: dict[str, Any] | None) -> str:
    """Return `pictures` (HTML with ``<img>``) and the script that replaces them by what `data` describes."""
    if data is None:
        return pictures
    return f"<div>{pictures}{_page(_as_text(data), data['kind'])}</div>"


def _as_text(data: dict[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")


def _page(text: str, kind: str) -> str:
    files, replay = REPLAYS[kind]
    return (
        f'<script type="application/json">{text}</script><script>(() => {{\n'
        f"{script('draw.js', *files, 'replay.js')}\nmount(document.currentScript.parentElement, {replay});\n"
        "})();</script>"
    )


def _milliseconds(seconds: float) -> float | None:
    return float(f"{1e3 * seconds:.5g}") if abs(seconds) < 1e9 else None


def search_replay(events: Sequence[Event], room: int = VIEW_BYTES) -> dict[str, Any] | None:
    """Return the history of the last search in `events` for the slider; None without one of at least two frames.

    As many iterations are kept, evenly, as fit into `room` characters of HTML together with the script; where not even
    two fit there is no slider.
    """
    begun = [index for index, event in enumerate(events) if isinstance(event, PlanStarted)]
    started = events[begun[-1]] if begun else None
    rows = [e for e in events[begun[-1] :] if isinstance(e, IterationFinished)] if begun else []
    if not isinstance(started, PlanStarted) or len(rows) < 2:
        return None
    count = min(MAXIMUM_FRAMES, len(rows))
    room -= len(_page("", "search"))
    while True:
        chosen = [rows[round(i * (len(rows) - 1) / (count - 1))] for i in range(count)]
        data = _search_data(started, chosen)
        if len(_as_text(data)) <= room:
            return data
        if count <= 2:
            return None
        count = max(2, int(count * 0.8))


def _search_data(started: PlanStarted, rows: Sequence[IterationFinished]) -> dict[str, Any]:
    kinds = list(dict.fromkeys(started.options))
    return {
        "kind": "search",
        "blocks": started.blocks,
        "kinds": kinds,
        "kind_of": [kinds.index(options) for options in started.options],
        "width": len(rows[0].trail[0]),
        "bound": _milliseconds(rows[-1].bound),
        "iterations": [row.iteration for row in rows],
        "elapsed": [round(row.elapsed_seconds, 4) for row in rows],
        "best": [_milliseconds(row.best) for row in rows],
        "mean": [_milliseconds(row.mean) for row in rows],
        "entropy": [round(row.entropy, 3) for row in rows],
        "frames": _packed(started, rows),
    }


def _packed(started: PlanStarted, rows: Sequence[IterationFinished]) -> str:
    """Return trail and choice of every row as bytes, each row as its difference to the one before, deflated."""
    stream = bytearray()
    before = bytes((len(started.blocks)) * (len(rows[0].trail[0]) + 1))
    for row in rows:
        now = bytes(
            [round(255 / LEVELS * round(LEVELS * value)) for cells in row.trail for value in cells]
            + list(row.best_choice)
        )
        stream += bytes((a - b) % 256 for a, b in zip(now, before, strict=True))
        before = now
    return base64.b64encode(zlib.compress(bytes(stream), 9)).decode()


def timeline_spans(measured: Timeline, predicted: Timeline | None = None) -> dict[str, Any]:
    """Return both timelines for the drawing code: a span is (lane, kind, start ms, end ms, block), all numbers."""
    both = {"measured": measured, "predicted": predicted or Timeline((), 0.0)}
    spans = [span for timeline in both.values() for span in timeline.spans]
    lanes, names = (list(dict.fromkeys(words)) for words in ([s.lane for s in spans], [s.block for s in spans]))
    data: dict[str, Any] = {"lanes": lanes, "names": [_short(name) for name in names]}
    for key, timeline in both.items():
        times = [(_digits(span.start_seconds), _digits(span.end_seconds)) for span in timeline.spans]
        data[key] = [
            (lanes.index(span.lane), KINDS.index(span.kind), *time, names.index(span.block))
            for span, time in zip(timeline.spans, times, strict=True)
        ]
    return data


def _digits(seconds: float) -> float:
    milliseconds = 1e3 * seconds
    return round(milliseconds, 3 if abs(milliseconds) < 100 else 1)


def _short(block: str) -> str:
    return re.sub(r"^layers\.(\d+)\.", r"layer \1 ", block)


def timeline_replay(measured: Timeline, predicted: Timeline | None, title: str) -> dict[str, Any]:
    """Return the data of a timeline that names the span under the pointer."""
    return {"kind": "timeline", "title": title, **timeline_spans(measured, predicted)}
