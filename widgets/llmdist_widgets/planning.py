"""Pictures of a plan: pheromone, placement and convergence, from events and results alone."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape

from llmdist.events import Event, IterationFinished, PlanFinished, PlanStarted
from llmdist.planner.placement import EIGHTHS, Assignment
from llmdist.planner.result import HistoryRow, PlanResult
from llmdist.units import format_bytes, format_seconds, format_speed

from .replay import VIEW_BYTES, interactive, search_replay
from .svg import WIDTH, Canvas, block_ticks, image, line_path, nice_ticks, short, step_path
from .theme import DEMAND, HTML_STYLE, RESIDENT, SHARED, STREAMED, cividis

__all__ = ["convergence_svg", "gap_words", "memory_bars", "pheromone_svg", "placement_svg", "plan_html"]

LEFT, RIGHT = 150, WIDTH - 20
SPAN = RIGHT - LEFT
LEVELS = 12
MEAN_POINTS = 150


def option_rows(started: PlanStarted) -> list[str]:
    """Return every option label once, in the order in which the blocks name them; all shares of a split are one."""
    return list(dict.fromkeys(without_share(label) for options in started.options for label in options))


def without_share(label: str) -> str:
    """Return an option's label without its share: ``cuda:0 bf16 split:3`` is ``cuda:0 bf16 split``."""
    return re.sub(r" split:\d$", " split", label)


def pheromone_svg(started: PlanStarted, iteration: IterationFinished) -> str:
    """Return the trail as a heat strip: columns are blocks, rows are options, outlined: the best."""
    rows = option_rows(started)
    row_of = {label: row for row, label in enumerate(rows)}
    high = 22 if len(rows) <= 9 else 16
    top = 58
    canvas = Canvas(top + high * len(rows) + 52, f"Pheromone at iteration {iteration.iteration}")
    canvas.text(16, 24, f"Pheromone after iteration {iteration.iteration}", "ink b")
    _colour_scale(canvas)
    for row, label in enumerate(rows):
        canvas.text(LEFT - 8, top + high * (row + 0.5) + 4, label, "ink", "end", room=LEFT - 16)
    columns = len(started.blocks)
    levels = [[-1] * columns for _ in rows]  # -1: the block has no such option
    for column, options in enumerate(started.options):
        for option, label in enumerate(options):
            value, row = min(1.0, max(0.0, iteration.trail[column][option])), row_of[without_share(label)]
            levels[row][column] = max(levels[row][column], round(value * (LEVELS - 1)))
    canvas.rect(LEFT, top, SPAN, high * len(rows), kind="track")
    canvas.add(
        f'<g transform="translate({LEFT} {top})scale({SPAN / columns:.5f} {high})" '
        'shape-rendering="crispEdges"><g transform="translate(0 .5)" stroke-width="1">'
    )
    cells: dict[int, str] = {}
    for row, line in enumerate(levels):
        for start, end, level in runs(line):
            if isinstance(level, int) and level >= 0:
                cells[level] = cells.get(level, "") + f"M{start} {row}h{end - start}"
    for level, path in sorted(cells.items()):
        canvas.add(f'<path stroke="{cividis(level / (LEVELS - 1))}" d="{path}"/>')
    canvas.add("</g>")
    best = [
        row_of[without_share(started.options[column][option])]
        for column, option in enumerate(iteration.best_choice)
    ]
    outline = "".join(f"M{a} {row}h{b - a}v1h-{b - a}z" for a, b, row in runs(best))
    canvas.add(
        f'<path class="mark" fill="none" stroke-width="2.5" vector-effect="non-scaling-stroke" '
        f'd="{outline}"/></g>'
    )
    block_axis(canvas, started.blocks, top + high * len(rows))
    return canvas.render()


def _colour_scale(canvas: Canvas) -> None:
    canvas.add(f'<rect x="{LEFT}" y="35" width="13" height="10" class="mark" fill="none" '
               'stroke-width="2.5"/>')  # fmt: skip
    canvas.text(LEFT + 20, 45, "best placement so far", "soft")
    canvas.text(RIGHT - 230, 45, "0", "soft", "end")
    for step in range(20):
        canvas.rect(RIGHT - 224 + step * 5, 34, 5.5, 12, cividis(step / 19))
    canvas.text(RIGHT - 117, 45, "1 (scaled per block)", "soft")


def runs(values: Sequence[object]) -> list[tuple[int, int, object]]:
    """Return (start, end, value) of runs of equal neighbours."""
    found: list[tuple[int, int, object]] = []
    start = 0
    for index in range(1, len(values) + 1):
        if index == len(values) or values[index] != values[start]:
            found.append((start, index, values[start]))
            start = index
    return found


def block_axis(canvas: Canvas, blocks: Sequence[str], y: float) -> None:
    """Write the blocks' names under the columns, as many as fit, at least 34 units apart."""
    width = SPAN / len(blocks)
    ends: list[tuple[float, float]] = []
    names = block_ticks(blocks)
    ordered = sorted(names, key=lambda tick: tick[1].isdigit())  # embed and head come first
    for column, word in ordered:
        x = LEFT + width * (column + 0.5)
        half = 4.0 * len(word) + 4
        if any(x - half < end and x + half > start for start, end in ends):
            continue
        ends.append((x - half, x + half))
        canvas.line(x, y, x, y + 5, "axis")
        canvas.text(min(x, WIDTH - half), y + 18, word, "soft", "middle")
    canvas.text(
        LEFT + SPAN / 2, y + 38, f"{len(blocks)} blocks, numbers are layers", "soft", "middle"
    )


def placement_svg(plan: PlanResult) -> str:
    """Return the placement: a row per device, a column per block, and memory against its cap."""
    devices = [device.name for device in plan.problem.devices]
    blocks = plan.placement.blocks
    high = 34
    canvas = Canvas(146 + high * len(devices) + 30 * len(plan.prediction.peak_bytes), "Placement of the blocks")
    canvas.text(16, 24, f"Placement {plan.provenance}".strip(), "ink b")
    entries = [
        (colour, words.format(count))
        for mode, colour, words in _MODES
        if (count := plan.placement.count(mode)) or mode in ("resident", "streamed")
    ]
    x, y = canvas.legend(LEFT, 46, entries, RIGHT)
    if x + 165 > RIGHT:
        x, y = LEFT, y + 18
    canvas.add(f'<rect x="{x:.0f}" y="{y - 7:.0f}" width="14" height="4" fill="{STREAMED}"/>')
    canvas.text(x + 20, y, "its weights rest here", "soft")
    canvas.height += round(y - 46)
    top = y + 16
    under = top + high * len(devices)
    for row, name in enumerate(devices):
        canvas.rect(LEFT, top + row * high + 2, SPAN, high - 4, kind="track")
        canvas.text(LEFT - 8, top + high * (row + 0.5) + 4, name, "ink b", "end")
    _chips(canvas, plan, top, high)
    block_axis(canvas, blocks, under)
    caps = {name: plan.problem.cap(name) for name in plan.prediction.peak_bytes}
    canvas.text(16, under + 62, "Predicted memory peak", "ink b")
    memory_bars(canvas, under + 74, plan.prediction.peak_bytes, caps)
    return canvas.render()


_MODES = (
    ("resident", RESIDENT, "resident ({})"),
    ("streamed", STREAMED, "streamed ({}), executed here"),
    ("split", SHARED, "split ({}): shared by GPU and CPU"),
    ("demand", DEMAND, "on demand ({})"),
)
_COLOURS = {mode: colour for mode, colour, _ in _MODES}


def _chips(canvas: Canvas, plan: PlanResult, top: float, high: float) -> None:
    """Draw runs of equal choices as chips, with a gap between blocks while it can be seen.

    Of a shared block the row of the CPU beside its device has as much of a chip as that CPU computes.
    """
    placement, devices = plan.placement, [device.name for device in plan.problem.devices]
    width = SPAN / len(placement.blocks)
    gap = 2.0 if width >= 12 else 0.0
    paths = {colour: "" for _, colour, _ in _MODES}
    words: list[tuple[float, float, Assignment, float]] = []
    for start, end, _choice in runs(placement.assignments):
        assignment = placement.assignments[start]
        colour = _COLOURS[assignment.mode]
        y = top + high * devices.index(assignment.exec_device) + 4
        home = top + high * devices.index(assignment.home_device) + high / 2 - 2
        host = plan.problem.host(assignment.exec_device) if assignment.cpu_eighths else None
        for first, last in [(i, i + 1) for i in range(start, end)] if gap else [(start, end)]:
            x, wide = LEFT + width * first + gap / 2, width * (last - first) - gap
            paths[colour] += _box(x, y, wide, high - 8)
            if assignment.copies:
                paths[STREAMED] += _box(x, home, wide, 4)
            if host is not None:
                part = (high - 8) * assignment.cpu_eighths / EIGHTHS
                paths[SHARED] += _box(x, top + high * (devices.index(host.name) + 1) - 4 - part, wide, part)
        if width * (end - start) > 8.0 * len(assignment.precision) + 8:
            words.append((LEFT + width * (start + end) / 2, y, assignment, 7.6 * len(assignment.precision) + 8))
    for colour, path in paths.items():
        canvas.add(f'<path fill="{colour}" d="{path}"/>')
    for middle, y, assignment, wide in words:
        resident = assignment.mode == "resident"
        if gap:
            colour = _COLOURS[assignment.mode]
            canvas.rect(middle - wide / 2, y, wide, high - 8, colour)
        canvas.add(f'<text x="{middle:.0f}" y="{y + 18:.0f}" fill="{"#fff" if resident else "#1b1f24"}" '
                   f'text-anchor="middle">{escape(assignment.precision)}</text>')  # fmt: skip


def _box(x: float, y: float, wide: float, high: float) -> str:
    return f"M{x:.1f} {y:g}h{wide:.1f}v{high:g}h-{wide:.1f}z"


def memory_bars(canvas: Canvas, y: float, used: Mapping[str, int], caps: Mapping[str, int]) -> None:
    """Draw one bar per device: used bytes over the cap; over the cap also says OVER."""
    for name, size in used.items():
        cap = caps.get(name, 0)
        whole = max(cap, size, 1)
        length = SPAN - 230
        canvas.text(LEFT - 8, y + 15, name, "ink b", "end")
        canvas.rect(LEFT, y, length, 20, kind="track")
        canvas.rect(
            LEFT, y, length * size / whole, 20, "#D55E00" if cap and size > cap else "#009E73"
        )
        if cap:
            edge = LEFT + length * cap / whole
            canvas.line(edge, y - 3, edge, y + 23, "axis", 'stroke-width="2"')
        over = " OVER" if cap and size > cap else ""
        of = f" of {format_bytes(cap)} ({size / cap:.0%})" if cap else ""
        canvas.text(LEFT + length + 10, y + 15, f"{format_bytes(size)}{of}{over}")
        y += 30


def convergence_svg(history: Sequence[HistoryRow | IterationFinished], bound: float, note: str = "") -> str:
    """Return objective over iterations: best, the ants' mean, and the lower bound (ms); `note` joins the title.

    The scale is that of the best and the bound, as their distance is what is searched for; a mean above it runs along
    the upper edge.
    """
    canvas = Canvas(270, "Convergence of the search")
    canvas.text(16, 24, f"Convergence: predicted milliseconds over iterations {note}".strip(), "ink b")
    top, under, right = 52, 222, RIGHT - 120
    finite = [row for row in history if math.isfinite(row.best)]
    if not finite:
        canvas.text(LEFT, 130, "The search recorded no iteration.", "soft")
        return canvas.render()
    low = min(1e3 * bound if bound > 0 else math.inf, min(1e3 * row.best for row in finite))
    peak = max(1e3 * row.best for row in finite)
    high = max(peak, low * 1.02)
    ticks = nice_ticks(low - 0.05 * (high - low), high)
    first, last = finite[0].iteration, max(finite[-1].iteration, finite[0].iteration + 1)

    def x_of(iteration: float) -> float:
        return LEFT + (right - LEFT) * (iteration - first) / (last - first)

    def y_of(value: float) -> float:
        return under - (under - top) * (min(value, ticks[-1]) - ticks[0]) / (ticks[-1] - ticks[0])

    canvas.y_axis(ticks, y_of, LEFT, right)
    canvas.text(LEFT - 8, top - 12, "ms", "soft", "end")
    for tick in nice_ticks(first, last, 6):
        if first <= tick <= last and tick == int(tick):
            canvas.text(x_of(tick), under + 20, f"{tick:g}", "soft", "middle")
    canvas.text((LEFT + right) / 2, under + 40, "iteration", "soft", "middle")
    across = [x_of(row.iteration) for row in finite]
    mean = line_path(across, [y_of(1e3 * row.mean) for row in finite], MEAN_POINTS)
    best = step_path(across, [y_of(1e3 * row.best) for row in finite])
    for kind, path in (("mean", mean), ("best", best)):
        canvas.add(f'<path class="{kind}" fill="none" stroke-width="2" d="{path}"/>')
    above = 1e3 * finite[-1].mean > ticks[-1]
    _curve_labels(canvas, right + 8, finite[-1], bound, y_of, right, "ants' mean, above" if above else "ants' mean")
    return canvas.render()


def _curve_labels(
    canvas: Canvas,
    x: float,
    row: HistoryRow | IterationFinished,
    bound: float,
    y_of: Callable[[float], float],
    right: float,
    mean: str,
) -> None:
    wanted = [(y_of(1e3 * row.best), f"best {short(1e3 * row.best, 4)} ms", "bestt b")]
    if math.isfinite(row.mean):
        wanted.append((y_of(1e3 * row.mean), mean, "soft"))
    if bound > 0:
        y = y_of(1e3 * bound)
        canvas.line(LEFT, y, right, y, "bound", 'stroke-width="2" stroke-dasharray="7 4"')
        wanted.append((y + 1, f"bound {short(1e3 * bound, 4)} ms", "boundt b"))
    last = -math.inf
    for y, words, kind in sorted(wanted):
        last = max(y + 4, last + 17)
        canvas.text(x, last, words, kind)


def shortened(words: str, limit: int = 600) -> str:
    """Return `words` cut at a line's end to about `limit` characters, for a screen reader."""
    if len(words) <= limit:
        return words
    return words[: words.rfind("\n", 0, limit)] + "\n... and more; the plan in words has all of it"


def gap_words(seconds: float, bound_seconds: float, fits: bool = True) -> str:
    """Return how good a placement is against the bound; `gapFigure` of editor_words.js says the same.

    One that is over a cap can be faster than the bound, which is of those that fit.
    """
    if not math.isfinite(seconds):
        return "impossible, no path for activations"
    gap = seconds / bound_seconds - 1 if bound_seconds > 0 else math.inf
    if gap < -1e-6:
        return f"beyond the bound, faster than {'the locks of the plan allow' if fits else 'all that fit'}"
    if gap < 1e-4:
        return "proven optimal" if fits else "as fast as the bound"
    return f"at most {gap:.1%} from the best possible" if math.isfinite(gap) else "no bound is known"


def plan_html(plan: PlanResult, events: Sequence[Event]) -> str:
    """Return the static view of a plan: headline, placement, convergence, pheromone."""
    p = plan.prediction
    quality = gap_words(max(plan.objective_seconds, plan.bound_seconds), plan.bound_seconds)
    finished = [event for event in events if isinstance(event, PlanFinished)]
    reason = f" ({finished[-1].reason})" if finished else ""
    speed = f"{format_speed(p.tokens_per_second)} tokens/s predicted {escape(plan.provenance)}"
    facts = (
        f"<b>{speed.strip()}</b>{plan.band_words()}, {quality}. "
        f"First token after {format_seconds(p.ttft_seconds)}, then {format_seconds(p.tpot_seconds)} each; "
        f"{format_bytes(p.bytes_per_token)} copied per token."
    )
    search = (
        f"{escape(plan.method)}, seed {plan.seed}: {plan.iterations} iterations, {plan.evaluations} "
        f"evaluations in {format_seconds(plan.elapsed_seconds)}{escape(reason)}."
        + (" Every number is simulated: no such device was measured." if plan.simulated else "")
    )
    parts = [image(placement_svg(plan), shortened(plan.placement.in_words()))]
    iterations = [event for event in events if isinstance(event, IterationFinished)]
    started = [event for event in events if isinstance(event, PlanStarted)]
    history: Sequence[HistoryRow | IterationFinished] = plan.history or iterations
    if history:
        parts.append(image(convergence_svg(history, plan.bound_seconds, plan.provenance), f"Convergence. {search}"))
    if started and iterations:
        words = "Pheromone per block and option at the end of the search."
        parts.append(image(pheromone_svg(started[-1], iterations[-1]), words))
    label = (
        f'<div style="{HTML_STYLE}"><div>{facts}</div>'
        f'<div style="opacity:.8;font-size:.92em">{search}</div>{parts[0]}'
    )
    room = VIEW_BYTES - len(label) - sum(map(len, parts[1:]))
    return f"{label}{interactive(''.join(parts[1:]), search_replay(events, room))}</div>"
