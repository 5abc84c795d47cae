"""Predicted against measured speed of the runs on this machine, before and after calibration.

Both axes are logarithmic, so the same relative error is the same distance from the diagonal everywhere. Each point is
a placement, priced after calibration by a fit that has not seen this placement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from llmdist.calibration import Calibration, Checked, Observation, log_words, term_words

from .svg import Canvas, image, nice_ticks
from .theme import HTML_STYLE

__all__ = ["calibration_html", "calibration_svg", "log_ticks"]

LEFT, RIGHT, TOP, UNDER = 84, 560, 62, 396
ASIDE = RIGHT + 36
_LOG = "font-size:.8em;margin:4px 0;white-space:pre;overflow-wrap:normal;overflow-x:auto"  # scrolls within itself


def log_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Return round numbers within low..high for a logarithmic axis: 1, 2 and 5 of each power of ten, or fewer."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        ticks = [float(f"{tick:.6g}") for tick in ticks if low <= tick <= high]
        if len(ticks) < 2:
            return [tick for tick in nice_ticks(low, high, 4) if low <= tick <= high]
        if len(ticks) <= most:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]


def calibration_svg(calibration: Calibration) -> str:
    """Return measured over predicted tokens/s: hollow before calibration, filled after, with diagonal and band."""
    canvas = Canvas(452, "Predicted and measured speed before and after calibration")
    canvas.text(16, 24, f"Predicted and measured speed of {calibration.name} on this machine", "ink b")
    points = calibration.checked
    if not points:
        canvas.text(LEFT, 140, "No run yet: generate 8 tokens or more, then look again.", "soft")
        return canvas.render()
    low, high = _range(points, calibration.spread)

    def x_of(speed: float) -> float:
        return LEFT + (RIGHT - LEFT) * math.log(speed / low) / math.log(high / low)

    def y_of(speed: float) -> float:
        return UNDER - (UNDER - TOP) * math.log(speed / low) / math.log(high / low)

    _axes(canvas, low, high, x_of, y_of)
    _band(canvas, low, high, calibration.spread, x_of, y_of)
    for point in points:
        _point(canvas, point, len(points) > 1, x_of, y_of)
    _aside(canvas, calibration)
    return canvas.render()


def _range(points: Sequence[Checked], spread: float) -> tuple[float, float]:
    speeds = [one.observation.tokens_per_second for one in points]
    speeds += [1 / seconds for one in points for seconds in (one.calibrated_seconds, one.observation.predicted_seconds)]
    room = math.exp(max(0.12, min(spread, 0.3)))
    return min(speeds) / room, max(speeds) * room


def _axes(
    canvas: Canvas, low: float, high: float, x_of: Callable[[float], float], y_of: Callable[[float], float]
) -> None:
    ticks = log_ticks(low, high)
    canvas.y_axis(ticks, y_of, LEFT, RIGHT)
    for tick in ticks:
        canvas.line(x_of(tick), TOP, x_of(tick), UNDER, "grid")
        canvas.text(x_of(tick), UNDER + 18, f"{tick:g}", "soft", "middle")
    canvas.text((LEFT + RIGHT) / 2, UNDER + 40, "predicted tokens/s", "soft", "middle")
    canvas.text(16, TOP - 14, "measured tokens/s", "soft")


def _band(
    canvas: Canvas, low: float, high: float, spread: float,
    x_of: Callable[[float], float], y_of: Callable[[float], float],
) -> None:  # fmt: skip
    """Draw the diagonal, and between which speeds a run is expected, cut off at the frame."""
    wide = math.exp(min(2 * spread, 0.98 * math.log(high / low)))
    corners = [(low, low), (low, low * wide), (high / wide, high), (high, high), (high, high / wide), (low * wide, low)]
    path = "L".join(f"{x_of(x):.1f} {y_of(y):.1f}" for x, y in corners)
    canvas.add(f'<path class="hatch" opacity="0.2" d="M{path}z"/>')
    canvas.line(x_of(low), y_of(low), x_of(high), y_of(high), "axis", 'stroke-width="1.5" stroke-dasharray="6 4"')


def _point(
    canvas: Canvas, one: Checked, checked: bool, x_of: Callable[[float], float], y_of: Callable[[float], float]
) -> None:
    y = y_of(one.observation.tokens_per_second)
    before, after = x_of(1 / one.observation.predicted_seconds), x_of(1 / one.calibrated_seconds)
    if abs(after - before) > 10:
        way = math.copysign(1.0, after - before)
        canvas.line(before + 5 * way, y, after - 5 * way, y, "mean", 'stroke-width="1.5"')
    _dot(canvas, before, y, False)
    if checked:
        _dot(canvas, after, y, True)


def _dot(canvas: Canvas, x: float, y: float, filled: bool) -> None:
    kind = 'class="bestt" stroke="none"' if filled else 'class="bg bound" stroke-width="1.8"'
    canvas.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" {kind}/>')


def _aside(canvas: Canvas, calibration: Calibration) -> None:
    """Write the legend, the errors and what was corrected."""
    y = TOP + 12.0
    for filled, words, seconds in (
        (False, "before calibration", [one.observation.predicted_seconds for one in calibration.checked]),
        (True, "after calibration", [one.calibrated_seconds for one in calibration.checked]),
    ):
        pairs = zip(calibration.checked, seconds, strict=True)
        errors = sorted(abs(one.observation.measured_seconds / said - 1) for one, said in pairs)
        _dot(canvas, ASIDE + 6, y - 4, filled)
        canvas.text(ASIDE + 20, y, words, "ink b")
        middle = (errors[(len(errors) - 1) // 2] + errors[len(errors) // 2]) / 2
        told = f"median error {middle:.0%}, worst {errors[-1]:.0%}"
        alone = filled and len(errors) == 1  # no other placement to fit to
        canvas.text(ASIDE + 20, y + 19, "checked from the second placement on" if alone else told, "soft")
        y += 50
    canvas.add(f'<rect x="{ASIDE}" y="{y - 11:.0f}" width="13" height="13" class="hatch" opacity="0.35"/>')
    canvas.text(ASIDE + 20, y, f"expected: within two spreads of {calibration.spread:.0%}", "soft")
    y += 36
    runs = "1 run" if calibration.runs == 1 else f"{calibration.runs} runs"
    canvas.text(ASIDE, y, f"What {runs} corrected (price x factor)", "ink b")
    for name, factor in calibration.factors.items():
        y += 21
        canvas.text(ASIDE, y, term_words(name))
        canvas.text(RIGHT + 360, y, f"x {factor:.2f}", "ink", "end")


def calibration_html(calibration: Calibration, observations: Sequence[Observation]) -> str:
    """Return the view: the picture, and the log of the last runs as text."""
    words = log_words(observations, calibration)
    picture = image(calibration_svg(calibration), words) if calibration.checked else ""
    table, _, sentence = words.rpartition("\n")
    rows = f'<pre style="{_LOG}">{escape(table)}</pre>' if table else ""
    return f'<div style="{HTML_STYLE}">{picture}{rows}<div style="font-size:.92em">{escape(sentence)}</div></div>'
