"""A small SVG canvas with axes: enough for the views, no script, no dependency.

Coordinates are in a 960 unit wide view box, so the picture scales to its container. The result is
carried as ``<img src="data:...">``, which an untrusted notebook keeps where it strips inline SVG.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from html import escape

from .theme import SVG_STYLE

__all__ = ["WIDTH", "Canvas", "block_ticks", "image", "line_path", "log_ticks", "nice_ticks", "short", "step_path"]

WIDTH = 960


class Canvas:
    """Collects SVG elements of one picture, `height` units high."""

    def __init__(self, height: float, title: str) -> None:
        self.height = round(height)
        self.title = title
        self.parts: list[str] = []

    def add(self, element: str) -> None:
        """Append a ready element."""
        self.parts.append(element)

    def text(
        self, x: float, y: float, words: str, kind: str = "ink", anchor: str = "start", room: float = math.inf
    ) -> None:
        """Write `words` with the baseline at (x, y), narrower where they need more than `room`.

        `kind` are CSS classes of the theme.
        """
        place = "" if anchor == "start" else f' text-anchor="{anchor}"'
        if 7.3 * len(words) > room:
            place += f' textLength="{room:.0f}" lengthAdjust="spacingAndGlyphs"'
        self.add(f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}"{place}>{escape(words)}</text>')

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str = "", kind: str = ""
    ) -> None:
        """Draw a filled rectangle by colour or by theme class."""
        paint = f'fill="{fill}"' if fill else f'class="{kind}"'
        size = f'width="{max(0.0, width):.1f}" height="{max(0.0, height):.1f}"'
        self.add(f'<rect x="{x:.1f}" y="{y:.1f}" {size} {paint}/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str, extra: str = "") -> None:
        """Draw a line in the theme class `kind`."""
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self.add(f'<line {ends} class="{kind}" {extra}/>')

    def legend(
        self, x: float, y: float, entries: Sequence[tuple[str, str]], right: float = math.inf
    ) -> tuple[float, float]:
        """Write (colour, label) entries in rows that start at (x, y) and end before `right`; return where they end."""
        left = x
        for colour, label in entries:
            if x > left and x + 17 + 7.0 * len(label) > right:
                x, y = left, y + 18
            self.rect(x, y - 10, 12, 12, colour)
            self.text(x + 17, y, label, "soft")
            x += 34 + 7.0 * len(label)
        return x, y

    def y_axis(
        self, ticks: Sequence[float], scale: Callable[[float], float], left: float, right: float
    ) -> None:
        """Draw grid lines with numbers at `ticks`."""
        for tick in ticks:
            self.line(left, scale(tick), right, scale(tick), "grid")
            self.text(left - 8, scale(tick) + 4, f"{tick:g}", "soft", "end")

    def render(self) -> str:
        """Return the SVG document."""
        title = escape(self.title)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" '
            f'width="100%" role="img" aria-label="{title}"><title>{title}</title>'
            f'<style>{SVG_STYLE}</style><rect class="bg" width="100%" height="100%" rx="6"/>'
            + "".join(self.parts)
            + "</svg>"
        )


def image(svg: str, words: str) -> str:
    """Return an ``<img>`` that holds `svg` in itself, with `words` for screen readers."""
    encoded = base64.b64encode(svg.encode()).decode()
    return (
        f'<img alt="{escape(words, quote=True)}" style="width:100%;max-width:{WIDTH}px;'
        f'display:block;margin:6px 0" src="data:image/svg+xml;base64,{encoded}">'
    )


def short(value: float, digits: int = 3) -> str:
    """Return a number in `digits` digits, or all of it where it has more before the point; as `number` of draw.js."""
    return f"{value:.0f}" if abs(value) >= 10**digits - 0.5 else f"{value:.{digits}g}"


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers that cover low..high."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        low, high = (low, low + 1.0) if math.isfinite(low) else (0.0, 1.0)
    raw = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * min((m for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999), default=10)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{step * i:.10g}") for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5 times powers of ten (powers alone over many decades) that cover low..high, both above 0."""
    factors = (1, 2, 5) if high < 2e3 * low else (1,)
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
    ticks = [float(f"{factor}e{power}") for power in range(first, last + 1) for factor in factors]
    under, over = (max(t for t in ticks if t <= low), min(t for t in ticks if t >= high))
    if under == over:
        over = ticks[ticks.index(over) + 1]
    return [tick for tick in ticks if under <= tick <= over]


def line_path(xs: Sequence[float], ys: Sequence[float], limit: int = 400) -> str:
    """Return path data through the points, thinned to about `limit`; not-finite points are left out."""
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x + y)]
    stride = max(1, math.ceil(len(points) / limit))
    kept = points[::stride] + ([points[-1]] if (len(points) - 1) % stride else [])
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in kept) if kept else ""


def step_path(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Return path data that holds each value until it changes; not-finite points are left out."""
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x + y)]
    if not points:
        return ""
    path, at = f"M{points[0][0]:.1f} {points[0][1]:.1f}", f"{points[0][1]:.1f}"
    for x, y in points[1:]:
        if f"{y:.1f}" != at:
            at = f"{y:.1f}"
            path += f"H{x:.1f}V{at}"
    return f"{path}H{points[-1][0]:.1f}"


def block_ticks(blocks: Sequence[str], room: int = 18) -> list[tuple[int, str]]:
    """Return (column, label) for at most about `room` columns: embed, layer numbers, head."""
    starts: list[tuple[int, str]] = []
    seen: set[str] = set()
    for column, name in enumerate(blocks):
        parts = name.split(".")
        word = parts[1] if parts[0] == "layers" and len(parts) > 1 else name
        if word not in seen:
            seen.add(word)
            starts.append((column, word))
    layers = [start for start in starts if start[1].isdigit()]
    stride = max(1, math.ceil(len(layers) / room))
    kept = layers[::stride]
    if kept:
        kept[0] = (kept[0][0], f"layer {kept[0][1]}" if len(blocks) / room < 2.2 else kept[0][1])
    return sorted(kept + [start for start in starts if not start[1].isdigit()])
