"""The planner's benchmark as pictures: the colony and its rivals over time, and what each part of the colony is worth.

``python -m llmdist_widgets.race runs.json`` writes an SVG from the file of ``python -m llmdist.bench planner --json``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .lessons import Picture, bars
from .svg import WIDTH, Canvas, line_path, log_ticks
from .theme import RESIDENT

__all__ = ["ablation_picture", "main", "race_picture"]

OWN = "colony"
FLOOR, CEILING = 1e-4, 10.0  # gaps that are told apart, as fractions
POINTS = 80
LEFT, RIGHT, TOP, BOTTOM = 70, WIDTH - 170, 58, 400
COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#7F3C8D", "#6B6B6B")
DASHES = ("", "7 3", "2 3")

Curve = list[float | None]


def _best(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(lambda: math.inf)
    for run in runs:
        if run["objective"] is not None:
            found[run["problem"]] = min(found[run["problem"]], run["objective"])
    return found


def _gap_at(run: Mapping[str, Any], seconds: float, best: float) -> float:
    """Return how far the run was behind `best` after `seconds`, a fraction; infinite before its first plan."""
    trace = run["trace"]
    seen = bisect_right([point[0] for point in trace], seconds)
    return min(point[1] for point in trace[:seen]) / best - 1 if seen else math.inf


def _curves(runs: Sequence[Mapping[str, Any]], times: Sequence[float]) -> dict[str, Curve]:
    """Return per method the median gap over its runs at each time; None where most of them have no plan yet."""
    best, own = _best(runs), defaultdict(list)
    for run in runs:
        own[run["method"]].append(run)
    found: dict[str, Curve] = {}
    for method, some in own.items():
        gaps = [median(_gap_at(run, t, best[run["problem"]]) for run in some) for t in times]
        found[method] = [None if math.isinf(gap) else gap for gap in gaps]
    return found


def _paint(method: str, index: int) -> str:
    if method == OWN:
        return f'stroke="{RESIDENT}" stroke-width="3.5"'
    dash = DASHES[index // len(COLOURS) % len(DASHES)]
    return f'stroke="{COLOURS[index % len(COLOURS)]}" stroke-width="1.8"' + (
        f' stroke-dasharray="{dash}"' if dash else ""
    )


def _spread(wanted: Sequence[float], room: float = 15) -> list[float]:
    """Return label heights near the `wanted` ones, `room` apart, in the same order."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places: dict[int, float] = {}
    last = -math.inf
    for i in order:
        last = places[i] = max(wanted[i], last + room)
    last = BOTTOM + 8 + room
    for i in reversed(order):
        last = places[i] = min(places[i], last - room)
    return [places[i] for i in range(len(wanted))]


def race_picture(document: Mapping[str, Any], problem: str | None = None) -> Picture:
    """Return the median gap of every method to the best plan known, over processor seconds.

    Parameters
    ----------
    document : the JSON of ``python -m llmdist.bench planner``.
    problem : one of its problems; all of them by default, each run counting once.

    Raises
    ------
    ValueError : there are no runs of that problem.
    """
    runs = [run for run in document["runs"] if problem in (None, run["problem"]) and run["trace"]]
    names = list(dict.fromkeys(run["problem"] for run in document["runs"]))
    if not runs:
        raise ValueError(f"{problem!r} has no runs in this file: it holds {', '.join(names) or 'none'}.")
    seeds = len({run["seed"] for run in runs})
    first = min(point[0] for run in runs for point in run["trace"])
    low, high = max(1e-3, min(first, 1e-2)), max(run["seconds"] for run in runs)
    times = [low * (high / low) ** (i / (POINTS - 1)) for i in range(POINTS)]
    curves = _curves(runs, times)
    where = problem or f"{len({run['problem'] for run in runs})} problems"
    title = f"Distance to the best plan known: {where}, median of {seeds} seed{'s' * (seeds > 1)}"
    canvas = Canvas(BOTTOM + 56, title)
    canvas.text(16, 24, title, "ink b")
    canvas.text(16, 42, "percent behind, logarithmic; lower is better", "soft")

    def across(t: float) -> float:
        return LEFT + (RIGHT - LEFT) * math.log(t / low) / math.log(high / low)

    def up(gap: float) -> float:
        share = math.log(min(CEILING, max(FLOOR, gap)) / FLOOR) / math.log(CEILING / FLOOR)
        return BOTTOM - (BOTTOM - TOP) * share

    _axes(canvas, across, up, low, high)
    ends: list[tuple[str, float, float]] = []
    order = sorted(curves, key=lambda method: method == OWN)  # the colony is drawn over the others
    paints = {method: _paint(method, index) for index, method in enumerate(order)}
    for method in order:
        points = [(across(t), up(gap)) for t, gap in zip(times, curves[method], strict=True) if gap is not None]
        if points:
            path = line_path([x for x, _ in points], [y for _, y in points])
            canvas.add(f'<path d="{path}" fill="none" {paints[method]}/>')
            ends.append((method, points[-1][1], curves[method][-1] or 0.0))
    for (method, at, gap), place in zip(ends, _spread([end[1] for end in ends]), strict=True):
        canvas.add(f'<path d="M{RIGHT} {at:.1f}L{RIGHT + 12} {place - 4:.1f}" fill="none" {paints[method]}/>')
        canvas.text(RIGHT + 15, place, f"{method} {_percent(gap)}", "bestt b" if method == OWN else "soft")
    said = "; ".join(f"{method} {_percent(gap)}" for method, _, gap in sorted(ends, key=lambda end: end[2]))
    return Picture(canvas.render(), f"{title}, after {high:g} s: {said}.")


def _axes(canvas: Canvas, across: Any, up: Any, low: float, high: float) -> None:
    for gap in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0):
        canvas.line(LEFT, up(gap), RIGHT, up(gap), "grid")
        label = f"{100 * gap:g} %" if gap > FLOOR else f"≤ {100 * gap:g} %"
        canvas.text(LEFT - 8, up(gap) + 4, label, "soft", "end")
    for t in (tick for tick in log_ticks(low, high) if low <= tick <= high * 1.001):
        canvas.line(across(t), BOTTOM, across(t), BOTTOM + 5, "axis")
        canvas.text(across(t), BOTTOM + 20, f"{t:g}", "soft", "middle")
    canvas.text((LEFT + RIGHT) / 2, BOTTOM + 42, "processor seconds, logarithmic", "soft", "middle")


def _percent(gap: float) -> str:
    return f"{100 * gap:.2f} %" if gap < 0.1 else f"{100 * gap:.0f} %"


def ablation_picture(document: Mapping[str, Any]) -> Picture:
    """Return what the colony loses without each of its parts: mean gap over all runs, the worst first."""
    best, gaps = _best(document["runs"]), defaultdict(list)
    for run in document["runs"]:
        if run["objective"] is not None:
            gaps[run["method"]].append(run["objective"] / best[run["problem"]] - 1)
    means = {method: sum(values) / len(values) for method, values in gaps.items()}
    order = sorted(means, key=lambda method: -means[method])
    most = max(means.values()) or 1.0
    whole = {method: "the whole colony" if method == OWN else method for method in order}
    rows = [(whole[m], means[m] / most, f"{_percent(means[m])}, {len(gaps[m])} runs") for m in order]
    problems = len({run["problem"] for run in document["runs"]})
    title = f"The colony without each of its parts: mean distance to the best plan known, {problems} problems"
    said = "; ".join(f"{label} {words}" for label, _, words in rows)
    return Picture(bars(title, rows).render(), f"{title}: {said}.")


def main(arguments: Sequence[str]) -> int:
    """Read the file, write the picture beside it, print its words; 2 for a file or problem that is not there."""
    parser = argparse.ArgumentParser(prog="python -m llmdist_widgets.race", description=__doc__)
    parser.add_argument("runs", type=Path, help="the file of python -m llmdist.bench planner --json")
    parser.add_argument("--problem", help="one problem; all by default")
    parser.add_argument("--out", type=Path, help="the SVG; by default beside the file")
    options = parser.parse_args(list(arguments))
    try:
        document = json.loads(options.runs.read_text(encoding="utf-8"))
        ablation = any(run["method"].startswith("no ") for run in document["runs"])
        picture = ablation_picture(document) if ablation else race_picture(document, options.problem)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{options.runs} gives no picture: {error}", file=sys.stderr)
        return 2
    target = options.out or options.runs.with_suffix(".svg")
    target.write_text(picture.svg, encoding="utf-8")
    print(f"{picture.words}\n{target}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
