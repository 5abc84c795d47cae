"""Pictures of the tutorials: probabilities, bytes per block, ladder of bandwidths, roofline, a race of searches.

Each is a function of data to an HTML view with a plain-text form; nothing is measured here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from llmdist.hardware.profile import Device, HardwareProfile
from llmdist.lessons.counting_bytes import kv_cache_bytes
from llmdist.lessons.machine import attainable_flops, ladder
from llmdist.lessons.one_token import Candidate
from llmdist.model.blocks import ModelProfile
from llmdist.units import format_bytes, format_rate

from .planning import LEFT, RIGHT, SPAN, block_axis
from .svg import Canvas, image, line_path, nice_ticks
from .theme import HTML_STYLE, RESIDENT, STREAMED

__all__ = [
    "Picture", "bars", "bytes_picture", "ladder_picture", "probabilities_picture", "race_picture", "roofline_picture",
    "ways_picture",
]  # fmt: skip

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


class Picture:
    """An SVG that a notebook shows and keeps, with its words for a terminal."""

    def __init__(self, svg: str, words: str) -> None:
        self.svg, self.words = svg, words

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        html = f'<div style="{HTML_STYLE}">{image(self.svg, self.words)}</div>'
        return {"text/html": html, "text/plain": self.words}


def bars(title: str, rows: Sequence[tuple[str, float, str]], colour: str = RESIDENT) -> Canvas:
    """Return horizontal bars: (label, share of the widest in 0..1, words behind the bar)."""
    canvas = Canvas(52 + 26 * len(rows), title)
    canvas.text(16, 24, title, "ink b")
    room = SPAN - 190
    for row, (label, share, words) in enumerate(rows):
        y = 40 + 26 * row
        canvas.text(LEFT + 30, y + 14, label, "ink", "end")
        canvas.rect(LEFT + 38, y, max(1.0, room * share), 18, colour)
        canvas.text(LEFT + 46 + max(1.0, room * share), y + 14, words, "soft")
    return canvas


def probabilities_picture(candidates: Sequence[Candidate], title: str = "Probability of the next token") -> Picture:
    """Return one bar per candidate, as long as its probability."""
    most = max(c.probability for c in candidates)
    rows = [(repr(c.text), c.probability / most, f"{c.probability:.1%}") for c in candidates]
    return Picture(bars(title, rows).render(), "; ".join(f"{label} {words}" for label, _, words in rows))


def ladder_picture(hardware: HardwareProfile) -> Picture:
    """Return the bandwidths of the machine, fastest first: true to scale, logarithmic where one would vanish."""
    rungs = ladder(hardware)
    least, most = min(rate for _, rate in rungs), max(rate for _, rate in rungs)
    if most <= 50 * least:
        rows = [(what, rate / most, format_rate(rate)) for what, rate in rungs]
    else:
        low, high = math.log10(least) - 0.7, math.log10(most)
        rows = [(what, (math.log10(rate) - low) / (high - low), format_rate(rate)) for what, rate in rungs]
    scale = "" if most <= 50 * least else " (bars are logarithmic)"
    title = f"Bandwidths of {hardware.machine}, {hardware.source}{scale}"
    return Picture(bars(title, rows, STREAMED).render(), "; ".join(f"{what} {words}" for what, _, words in rows))


def bytes_picture(model: ModelProfile, precision: str, tokens: int) -> Picture:
    """Return the weights of every block and the KV cache that it keeps for `tokens`."""
    total = kv_cache_bytes(model, tokens, "bf16")
    elements = sum(block.kv_elements_per_token for block in model.blocks) or 1
    weights = [block.weight_bytes(precision) for block in model.blocks]
    cache = [total * block.kv_elements_per_token / elements for block in model.blocks]
    canvas = Canvas(280, "Bytes per block")
    canvas.text(16, 24, f"Bytes per block of {model.name}: {precision} weights, KV cache of {tokens} tokens", "ink b")
    canvas.legend(
        LEFT, 46,
        [(RESIDENT, f"weights ({format_bytes(sum(weights))})"), (STREAMED, f"KV cache ({format_bytes(sum(cache))})")],
    )  # fmt: skip
    top, under, unit = 66, 228, 2.0**20
    ticks = nice_ticks(0.0, max(w + k for w, k in zip(weights, cache, strict=True)) / unit, 5)
    width = SPAN / len(weights)
    canvas.y_axis(ticks, lambda tick: under - (under - top) * tick / ticks[-1], LEFT, RIGHT)
    canvas.text(LEFT - 8, top - 10, "MiB", "soft", "end")
    for i, (weight, kept) in enumerate(zip(weights, cache, strict=True)):
        high, low = ((under - top) * part / unit / ticks[-1] for part in (weight, kept))
        canvas.rect(LEFT + width * (i + 0.1), under - high, 0.8 * width, high, RESIDENT)
        canvas.rect(LEFT + width * (i + 0.1), under - high - low, 0.8 * width, low, STREAMED)
    block_axis(canvas, [block.name for block in model.blocks], under)
    return Picture(canvas.render(), f"weights {format_bytes(sum(weights))}, KV cache {format_bytes(sum(cache))}")


def roofline_picture(device: Device, points: Mapping[str, float]) -> Picture:
    """Return FLOP/s over FLOP per byte of one device, with named intensities marked on its roof."""
    canvas = Canvas(340, f"Roofline of {device.name}")
    canvas.text(16, 24, f"Roofline of {device.name}: what it can reach, over FLOP per byte (both logarithmic)", "ink b")
    ridge = device.flops / device.bandwidth
    low = math.log10(min(ridge / 8, *points.values()) / 2)
    high = math.log10(2 * max(4 * ridge, *points.values()))
    bottom, top = math.log10(attainable_flops(device, 10**low)), math.log10(device.flops) + 0.2
    canvas.text(LEFT - 8, 46, "GFLOP/s", "soft", "end")

    def x_of(intensity: float) -> float:
        return LEFT + SPAN * (math.log10(intensity) - low) / (high - low)

    def y_of(flops: float) -> float:
        return 270 - 210 * (math.log10(flops) - bottom) / (top - bottom)

    for power in range(math.ceil(bottom), math.floor(top) + 1):
        canvas.line(LEFT, y_of(10.0**power), RIGHT, y_of(10.0**power), "grid")
        canvas.text(LEFT - 8, y_of(10.0**power) + 4, f"{10 ** (power - 9):g}", "soft", "end")
    for power in range(math.ceil(low), math.floor(high) + 1):
        canvas.text(x_of(10.0**power), 290, f"{10**power:g}", "soft", "middle")
    canvas.text((LEFT + RIGHT) / 2, 316, "FLOP per byte that is read", "soft", "middle")
    canvas.line(x_of(ridge), y_of(device.flops), x_of(ridge), 270, "grid", 'stroke-width="2" stroke-dasharray="5 4"')
    canvas.text(x_of(ridge) + 8, 262, f"ridge: {ridge:.0f} FLOP per byte", "soft")
    xs = [10**low, ridge, 10**high]
    path = line_path([x_of(x) for x in xs], [y_of(attainable_flops(device, x)) for x in xs])
    canvas.add(f'<path class="best" fill="none" stroke-width="2.5" d="{path}"/>')
    for name, intensity in points.items():
        x, y = x_of(intensity), y_of(attainable_flops(device, intensity))
        canvas.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{STREAMED}"/>')
        flat = intensity >= ridge
        canvas.text(x + (0 if flat else 12), y + (24 if flat else 14), name, "ink", "middle" if flat else "start")
    reached = (f"{name}: {attainable_flops(device, i) / 1e9:.3g} GFLOP/s" for name, i in points.items())
    return Picture(canvas.render(), "; ".join(reached))


def ways_picture(ways: Mapping[int, Mapping[str, float]], title: str = "One MLP, simulated") -> Picture:
    """Return one line for every way: {batch: {way: seconds}} as milliseconds over the batch."""
    canvas = Canvas(300, title)
    canvas.text(16, 24, f"{title}: milliseconds per pass, over the sequences in the batch", "ink b")
    names = list(next(iter(ways.values())))
    canvas.legend(LEFT, 46, [(_COLOURS[i % 6], name) for i, name in enumerate(names)])
    ticks = nice_ticks(0.0, 1e3 * max(max(seconds.values()) for seconds in ways.values()), 5)
    longest = max(ways)

    def y_of(milliseconds: float) -> float:
        return 240 - 170 * milliseconds / ticks[-1]

    canvas.y_axis(ticks, y_of, LEFT, RIGHT)
    canvas.text(LEFT - 8, 58, "ms", "soft", "end")
    for tick in nice_ticks(0.0, float(longest), 9):
        if tick <= longest:
            canvas.text(LEFT + SPAN * tick / longest, 260, f"{tick:g}", "soft", "middle")
    canvas.text((LEFT + RIGHT) / 2, 284, "sequences in the batch", "soft", "middle")
    for i, name in enumerate(names):
        xs, ys = [LEFT + SPAN * batch / longest for batch in ways], [y_of(1e3 * each[name]) for each in ways.values()]
        canvas.add(f'<path fill="none" stroke="{_COLOURS[i % 6]}" stroke-width="2" d="{line_path(xs, ys)}"/>')
        for x, y in zip(xs, ys, strict=True):
            canvas.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_COLOURS[i % 6]}"/>')
    first, last = min(ways), longest
    words = (f"{name}: {1e3 * ways[first][name]:.2f} ms for {first}, {1e3 * ways[last][name]:.2f} ms for {last}"
             for name in names)  # fmt: skip
    return Picture(canvas.render(), "; ".join(words))


def race_picture(curves: Mapping[str, Sequence[float]], optimum: float, title: str = "Best plan so far") -> Picture:
    """Return one curve per search: how far its best plan is from `optimum`, in percent, over iterations."""
    gaps = {name: [100 * (best / optimum - 1) for best in curve] for name, curve in curves.items()}
    finite = [gap for curve in gaps.values() for gap in curve if math.isfinite(gap)]
    canvas = Canvas(300, title)
    canvas.text(16, 24, f"{title}: percent above the exact optimum, over iterations", "ink b")
    ticks = nice_ticks(0.0, max(finite, default=1.0) or 1.0, 5)
    longest = max((len(curve) for curve in gaps.values()), default=1)

    def y_of(gap: float) -> float:
        return 240 - 170 * gap / ticks[-1]

    canvas.y_axis(ticks, y_of, LEFT, RIGHT)
    canvas.text(LEFT - 8, 58, "%", "soft", "end")
    for tick in nice_ticks(0.0, float(longest), 6):
        if tick <= longest:
            canvas.text(LEFT + SPAN * tick / longest, 260, f"{tick:g}", "soft", "middle")
    canvas.text((LEFT + RIGHT) / 2, 284, "iteration", "soft", "middle")
    ends = {name: f"{c[-1]:.1f} %" if math.isfinite(c[-1]) else "nothing fits" for name, c in gaps.items()}
    canvas.legend(LEFT, 46, [(_COLOURS[i % 6], f"{name} ({end})") for i, (name, end) in enumerate(ends.items())])
    for i, curve in enumerate(gaps.values()):
        xs = [LEFT + SPAN * (k + 1) / longest for k in range(len(curve))]
        path = line_path(xs, [y_of(gap) for gap in curve])
        canvas.add(f'<path fill="none" stroke="{_COLOURS[i % 6]}" stroke-width="2" d="{path}"/>')
    return Picture(canvas.render(), "; ".join(f"{name}: {end}" for name, end in ends.items()))
