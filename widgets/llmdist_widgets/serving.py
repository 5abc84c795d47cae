"""Pictures of lesson 8: requests over time, the cache held against the cache used, a relay of machines.

Each is a function of a run to an HTML view with a plain-text form; nothing is simulated here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmdist.lessons.many_machines import Visit
from llmdist.lessons.serving import Case, Measured
from llmdist.lessons.serving_simulator import Run

from .lessons import Picture
from .planning import LEFT, RIGHT, SPAN
from .svg import Canvas, line_path, nice_ticks
from .theme import RESIDENT, STREAMED

__all__ = ["load_picture", "memory_picture", "relay_picture", "requests_picture", "steps_picture"]

_WAITING = "#9aa4ae"
_SEQUENCES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


def _time_axis(canvas: Canvas, high: float, y: float, unit: str) -> None:
    for tick in nice_ticks(0.0, high, 8):
        if tick <= high:
            canvas.text(LEFT + SPAN * tick / high, y, f"{tick:g}", "soft", "middle")
    canvas.text((LEFT + RIGHT) / 2, y + 20, unit, "soft", "middle")


def steps_picture(measured: Sequence[Measured]) -> Picture:
    """Return, over the sequences in a step, the seconds of the step and the tokens per second of all of them."""
    canvas = Canvas(60 + 26 * len(measured), "One step for many sequences")
    canvas.text(16, 24, "One step for many sequences, measured: what it takes, and the tokens of all together", "ink b")
    half = (SPAN - 180) / 2
    most = max(m.step_seconds for m in measured), max(m.tokens_per_second for m in measured)
    for row, one in enumerate(measured):
        y = 42 + 26 * row
        canvas.text(LEFT - 8, y + 14, f"{one.sequences} together", "ink", "end")
        parts = (one.step_seconds, f"{1e3 * one.step_seconds:.2f} ms"), (
            one.tokens_per_second, f"{one.tokens_per_second:.0f} tokens/s",
        )  # fmt: skip
        for side, (value, words) in enumerate(parts):
            x, width = LEFT + side * (half + 90), half * value / most[side]
            canvas.rect(x, y, width, 18, (STREAMED, RESIDENT)[side])
            canvas.text(x + width + 6, y + 14, words, "soft")
    words = "; ".join(f"{m.sequences} together {1e3 * m.step_seconds:.2f} ms" for m in measured)
    return Picture(canvas.render(), words)


def requests_picture(runs: Mapping[str, Run], limit: int = 16) -> Picture:
    """Return the first `limit` requests of every run as rows over time: waiting, answered, and a place kept in vain."""
    shown = {name: run.served[:limit] for name, run in runs.items()}
    last = max(served.freed for rows in shown.values() for served in rows)
    high = 15
    canvas = Canvas(70 + sum(34 + high * len(rows) for rows in shown.values()) + 44, "Requests over time")
    canvas.text(16, 24, f"The first {limit} requests over time, simulated (each row is one request)", "ink b")
    kinds = [(_WAITING, "waits for a place"), (RESIDENT, "is answered"), (STREAMED, "has ended, its place is kept")]
    canvas.legend(LEFT, 48, kinds)
    y, said = 60.0, []
    for name, rows in shown.items():
        mean = sum(served.latency for served in rows) / len(rows)
        said.append(f"{name}: {1e3 * mean:.0f} ms from arrival to the last token on average")
        canvas.text(LEFT, y + 20, said[-1], "ink b")
        y += 28
        for served in rows:
            canvas.rect(LEFT, y, SPAN, high - 3, kind="track")
            marks = (served.request.arrival, served.start, served.end, served.freed)
            for begin, end, (colour, _) in zip(marks, marks[1:], kinds, strict=False):
                canvas.rect(LEFT + SPAN * begin / last, y, SPAN * (end - begin) / last, high - 3, colour)
            y += high
        y += 6
    _time_axis(canvas, 1e3 * last, y + 14, "ms")
    return Picture(canvas.render(), "; ".join(said))


def memory_picture(runs: Mapping[str, Run], case: Case) -> Picture:
    """Return the cache of every run over time: held, and of it used, under what there is."""
    canvas = Canvas(64 + 190 * len(runs) + 30, "The KV cache over time")
    canvas.text(16, 24, "The KV cache over time, simulated: what is held, and what of it holds a token", "ink b")
    canvas.legend(LEFT, 48, [(STREAMED, "held, but empty"), (RESIDENT, "used"), ("#B3430A", "all there is")])
    gib = case.token_bytes / 2**30
    there = case.cache_tokens * gib
    last = max(m.time for run in runs.values() for m in run.memory)
    ticks, said = nice_ticks(0.0, there, 4), []
    y = 64.0
    for name, run in runs.items():
        most = max(m.sequences for m in run.memory)
        said.append(f"{name}: {run.waste:.0%} of what is held is empty; at most {most} requests at once")
        canvas.text(LEFT, y + 16, said[-1], "ink b")
        under, top = y + 176, y + 28

        def y_of(value: float, under: float = under, top: float = top) -> float:
            return under - (under - top) * value / ticks[-1]

        canvas.y_axis(ticks, y_of, LEFT, RIGHT)
        canvas.text(LEFT - 8, top - 12, "GiB", "soft", "end")
        xs = [LEFT + SPAN * m.time / last for m in run.memory]
        for values, colour in (([m.held for m in run.memory], STREAMED), ([m.used for m in run.memory], RESIDENT)):
            path = line_path(xs, [y_of(value * gib) for value in values], 600)
            canvas.add(f'<path fill="{colour}" d="{path}L{xs[-1]:.1f} {under:.1f}L{xs[0]:.1f} {under:.1f}Z"/>')
        canvas.line(LEFT, y_of(there), RIGHT, y_of(there), "bound", 'stroke-width="2"')
        y += 190
    _time_axis(canvas, last, y + 6, "seconds")
    return Picture(canvas.render(), "; ".join(said))


def load_picture(rates: Sequence[float], shares: Mapping[str, Sequence[float]], limit: float = 20.0) -> Picture:
    """Return the share of requests answered within `limit` seconds over the load, one curve per server."""
    canvas = Canvas(300, "Answered in time")
    canvas.text(16, 24, f"Answered within {limit:g} s, in percent, over requests per second (simulated)", "ink b")
    canvas.legend(LEFT, 48, [(_SEQUENCES[i], name) for i, name in enumerate(shares)])
    ticks = [0.0, 25.0, 50.0, 75.0, 100.0]

    def y_of(percent: float) -> float:
        return 240 - 165 * percent / 100

    canvas.y_axis(ticks, y_of, LEFT, RIGHT)
    canvas.text(LEFT - 8, 60, "%", "soft", "end")
    for i, values in enumerate(shares.values()):
        xs, ys = [LEFT + SPAN * rate / max(rates) for rate in rates], [y_of(100 * share) for share in values]
        canvas.add(f'<path fill="none" stroke="{_SEQUENCES[i]}" stroke-width="2" d="{line_path(xs, ys)}"/>')
        for x, y in zip(xs, ys, strict=True):
            canvas.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_SEQUENCES[i]}"/>')
    _time_axis(canvas, max(rates), 260, "requests per second")
    words = (f"{name}: " + ", ".join(f"{share:.0%}" for share in values) for name, values in shares.items())
    return Picture(canvas.render(), "; ".join(words))


def relay_picture(relays: Mapping[str, Sequence[Visit]]) -> Picture:
    """Return one lane per device for every relay: who computes when, a colour per sequence."""
    shown = {name: _gpus(visits) for name, visits in relays.items()}
    last = max(visit.end for visits in shown.values() for visit in visits)
    lanes = {name: list(dict.fromkeys(visit.device for visit in visits)) for name, visits in shown.items()}
    high = 22
    canvas = Canvas(40 + sum(34 + high * len(lane) for lane in lanes.values()) + 44, "A relay of machines")
    canvas.text(16, 24, "Who computes when, simulated (a colour is a sequence; grey is a card that waits)", "ink b")
    y, said = 36.0, []
    for name, visits in shown.items():
        end = max(visit.end for visit in visits)
        busy = sum(visit.end - visit.start for visit in visits) / (end * len(lanes[name]))
        said.append(f"{name}: the cards compute {busy:.0%} of the time")
        canvas.text(LEFT, y + 18, said[-1], "ink b")
        y += 28
        for device in lanes[name]:
            canvas.text(LEFT - 8, y + 14, device, "ink", "end")
            canvas.rect(LEFT, y, SPAN, high - 4, kind="track")
            for visit in visits:
                if visit.device == device:
                    x, width = LEFT + SPAN * visit.start / last, SPAN * (visit.end - visit.start) / last
                    canvas.rect(x, y, max(0.8, width - 0.8), high - 4, _SEQUENCES[visit.sequence % 6])
            y += high
        y += 6
    _time_axis(canvas, 1e3 * last, y + 12, "ms")
    return Picture(canvas.render(), "; ".join(said))


def _gpus(visits: Sequence[Visit]) -> list[Visit]:
    """Leave out a processor that only looks the embedding up."""
    return [visit for visit in visits if "cuda" in visit.device] or list(visits)
