"""The copy/compute timeline of one token as a picture: measured lanes over predicted ones, waits shaded."""

from __future__ import annotations

from collections.abc import Mapping

from llmdist.cost.timeline import Timeline

from .svg import WIDTH, Canvas, nice_ticks, short
from .theme import COMPUTE, COPY, PASS

__all__ = ["length_words", "timeline_svg", "timelines_svg"]

LEFT, RIGHT = 150, WIDTH - 20
HIGH, GAP, TOP = 24, 26, 56
_FILLS = {"pass": PASS, "wait": "url(#w)", "copy": COPY, "compute": COMPUTE, "transfer": "#8a929b"}


def timeline_svg(measured: Timeline, predicted: Timeline | None = None, title: str = "One token") -> str:
    """Return the spans of one token over milliseconds; a hatch marks a block that waited for its weights."""
    return timelines_svg({"measured": measured} | ({"predicted": predicted} if predicted else {}), title)


def timelines_svg(timelines: Mapping[str, Timeline], title: str) -> str:
    """Return named timelines one below the other over the same milliseconds."""
    both = [(words, one) for words, one in timelines.items() if one.spans]
    height = TOP + sum(GAP + HIGH * len(one.lanes) for _, one in both) + 46
    canvas = Canvas(height, title)
    canvas.text(16, 24, title, "ink b")
    canvas.add(
        '<defs><pattern id="w" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect width="2" height="6" class="hatch"/></pattern></defs>'
    )
    spans = [span for _, one in both for span in one.spans]
    price = [(PASS, "price of a pass")] if any(span.kind == "pass" for span in spans) else []
    canvas.legend(LEFT, 46, [(COMPUTE, "compute"), (COPY, "copy"), *price, ("url(#w)", "waits for its weights")])
    if not spans:
        canvas.text(LEFT, TOP + 20, "No copies and computes were recorded.", "soft")
        return canvas.render()
    high = max(1e3 * s.end_seconds for s in spans)
    # What ran long ahead would press the token flat: its own length is shown, less where nothing is under way.
    low = max(-high, min([0.0, *(1e3 * s.start_seconds for s in spans if 1e3 * s.end_seconds > -high)]))
    low = min([low, *(1e3 * s.start_seconds for s in spans if s.kind == "pass")])
    early = sum(1e3 * s.start_seconds < low for s in spans)
    scale = (RIGHT - LEFT) / max(1e-9, high - low)
    indent = max(76.0, *(8.2 * len(words) for words, _ in both))
    y = float(TOP)
    for words, one in both:
        y += GAP
        canvas.text(LEFT, y - 7, words, "ink b")
        canvas.text(LEFT + indent, y - 7, length_words(one), "soft")
        y = _lanes(canvas, one, y, low, scale)
    for tick in nice_ticks(low, high, 7):
        if low <= tick <= high:
            canvas.text(LEFT + (tick - low) * scale, y + 18, f"{tick:g}", "soft", "middle")
    words = f"ms; 0 is where the token's first block begins{_early(early)}"
    canvas.text((LEFT + RIGHT) / 2, y + 38, words, "soft", "middle")
    return canvas.render()


def length_words(timeline: Timeline) -> str:
    """Return how long the token is, and how much of that is no computing."""
    length, waits = short(1e3 * timeline.seconds), short(1e3 * timeline.waiting_seconds())
    price = timeline.pass_seconds()
    if price > 0:
        return f"{length} ms, {short(1e3 * price)} ms of it the price of a pass, {waits} ms waiting for weights"
    return f"{length} ms, {waits} ms of it waiting for weights"


def _early(count: int) -> str:
    return f"; {count} {'copy' if count == 1 else 'copies'} began earlier" if count else ""


def _lanes(canvas: Canvas, timeline: Timeline, y: float, low: float, scale: float) -> float:
    for lane in timeline.lanes:
        canvas.text(LEFT - 8, y + 16, lane, "ink", "end")
        canvas.rect(LEFT, y + 1, RIGHT - LEFT, HIGH - 4, kind="track")
        for kind, fill in _FILLS.items():
            path = "".join(
                f"M{LEFT + (max(low, 1e3 * s.start_seconds) - low) * scale:.1f} {y + HIGH / 2 - 1:.0f}"
                f"h{max(0.8, (1e3 * s.end_seconds - max(low, 1e3 * s.start_seconds)) * scale - 0.6):.1f}"
                for s in timeline.spans
                if s.lane == lane and s.kind == kind and 1e3 * s.end_seconds > low
            )
            if path:
                canvas.add(f'<path stroke="{fill}" stroke-width="{HIGH - 4}" d="{path}"/>')
        y += HIGH
    return y
