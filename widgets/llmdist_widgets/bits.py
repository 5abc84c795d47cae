"""Pictures of lesson 6: a group of weights on the levels of its codes, damage per block, quality against bytes.

Each is a function of data to an HTML view with a plain-text form; nothing is measured here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from llmdist.lessons.bits_judge import Score

from .lessons import Picture, bars
from .planning import LEFT, RIGHT, SPAN
from .svg import Canvas, nice_ticks
from .theme import RESIDENT, STREAMED

__all__ = ["quality_picture", "rounding_picture", "sensitivity_picture"]


def rounding_picture(weights: Sequence[float], scale: float, codes: Sequence[int]) -> Picture:
    """Return a group of weights, each beside the level code x scale that it is stored as."""
    canvas = Canvas(370, "Weights and their levels")
    used = len(set(codes))
    worst = max(abs(w - c * scale) for w, c in zip(weights, codes, strict=True))
    said = f"{used} of 16 levels are used; one step is {abs(scale):.3f}, the largest rounding error {worst:.3f}"
    title = f"A group of {len(weights)} weights in int4: {said}"
    canvas.text(16, 24, title, "ink b")
    canvas.legend(LEFT, 48, [(RESIDENT, "the weight"), (STREAMED, "the level it is stored as")])
    levels = [code * scale + 0.0 for code in range(-8, 8)]  # + 0.0: no -0
    low, high = min(*levels, *weights), max(*levels, *weights)

    def y_of(value: float) -> float:
        return 340 - 265 * (value - low) / (high - low)

    for code, level in zip(range(-8, 8), levels, strict=True):
        canvas.line(LEFT, y_of(level), RIGHT, y_of(level), "grid")
        canvas.text(LEFT - 8, y_of(level) + 4, f"{level:+.2f}   code {code:+d}", "soft", "end")
    width = SPAN / len(weights)
    for i, (weight, code) in enumerate(zip(weights, codes, strict=True)):
        x, y, level = LEFT + width * (i + 0.5), y_of(weight), y_of(code * scale)
        canvas.rect(x - 0.36 * width, level - 2, 0.72 * width, 4, STREAMED)
        canvas.line(x, y, x, level, "axis", 'stroke-width="1.5"')
        canvas.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{RESIDENT}"/>')
    canvas.text((LEFT + RIGHT) / 2, 362, "the weights of the group, in their order", "soft", "middle")
    return Picture(canvas.render(), said)


def sensitivity_picture(alone: Mapping[str, float], precision: str = "int4") -> Picture:
    """Return one bar per block: the divergence when only this block is `precision`."""
    most = max(alone.values()) or 1.0
    rows = [(name, value / most, f"{value:.4f}" if value >= 5e-5 else "under 0.0001") for name, value in alone.items()]
    title = f"Divergence when only this block is {precision}, in nats per 1000 tokens (measured)"
    return Picture(bars(title, rows).render(), "; ".join(f"{label} {words}" for label, _, words in rows))


def quality_picture(scores: Mapping[str, Score], budget: int | None = None) -> Picture:
    """Return divergence over bytes, one point per named score; no divergence at all stands at the bottom."""
    canvas = Canvas(400, "Quality against bytes")
    title = "Divergence in nats per 1000 tokens (logarithmic) over the weights: lower left is better"
    canvas.text(16, 24, title, "ink b")
    some = [score.divergence for score in scores.values() if score.divergence > 0] or [1.0]
    first, last = math.floor(math.log10(min(some))), math.ceil(math.log10(max(some)) + 1e-9)
    ticks = nice_ticks(0.0, max(max(score.nbytes for score in scores.values()), budget or 0) / 1e6, 6)

    def x_of(nbytes: float) -> float:
        return LEFT + (SPAN - 40) * nbytes / 1e6 / ticks[-1]

    def y_of(divergence: float) -> float:
        step = 270 / (last - first + 1)
        return 335 - (0 if divergence <= 0 else step * (1 + math.log10(divergence) - first))

    for power in range(first, last + 1):
        canvas.line(LEFT, y_of(10.0**power), RIGHT, y_of(10.0**power), "grid")
        canvas.text(LEFT - 8, y_of(10.0**power) + 4, f"{10.0**power:g}", "soft", "end")
    canvas.line(LEFT, y_of(0), RIGHT, y_of(0), "axis")
    canvas.text(LEFT - 8, y_of(0) + 4, "none", "soft", "end")
    for tick in ticks:
        canvas.text(x_of(1e6 * tick), 355, f"{tick:g}", "soft", "middle")
    canvas.text((LEFT + RIGHT) / 2, 380, "megabytes of weights", "soft", "middle")
    if budget:
        canvas.line(x_of(budget), 40, x_of(budget), y_of(0), "bound", 'stroke-width="2" stroke-dasharray="5 4"')
        canvas.text(x_of(budget) + 6, 48, "budget", "boundt")
    taken: list[tuple[float, float, float]] = []
    for name, score in scores.items():
        x, y = x_of(score.nbytes), y_of(score.divergence)
        colour = STREAMED if name.startswith("my") else RESIDENT
        canvas.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}"/>')
        side = "end" if x > RIGHT - 160 or score.nbytes <= (budget or 0) else "start"
        wide = 7.5 * len(name)
        left = x - 11 - wide if side == "end" else x + 11
        at = _free_height(taken, left, left + wide, y - 4)
        taken.append((left, left + wide, at))
        canvas.text(x + (-11 if side == "end" else 11), at, name, "ink", side)
    words = (f"{name}: {s.nbytes / 1e6:.2f} MB, {s.divergence:.4f}" for name, s in scores.items())
    return Picture(canvas.render(), "; ".join(words))


def _free_height(taken: Sequence[tuple[float, float, float]], left: float, right: float, y: float) -> float:
    """Return a height near `y` at which left..right meets none of the words (left, right, height) in `taken`."""
    for shift in (0, 16, -16, 32, -32):
        if not any(abs(y + shift - at) < 15 and begin < right and left < end for begin, end, at in taken):
            return y + shift
    return y
