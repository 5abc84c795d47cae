"""Pictures of a Pareto front: speed against memory, colour for quality, and its table; from the front alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from itertools import product
from math import cos, dist, inf, log10, pi, sin

from llmdist.planner import FrontPlan, ParetoFront, PlanResult
from llmdist.units import format_bytes, format_speed

from .svg import WIDTH, Canvas, image, log_ticks, nice_ticks
from .theme import HTML_STYLE, cividis

__all__ = ["front_html", "front_svg"]

LEFT, RIGHT, TOP, UNDER = 96, WIDTH - 30, 66, 370
DISC, DOT = 12.0, 5.5  # radii
WIDE_RANGE = 8.0  # speeds that differ by more are drawn on a logarithmic scale

Point = tuple[float, float]


def front_svg(front: ParetoFront, in_force: PlanResult | None = None) -> str:
    """Return predicted tokens/s against memory: a numbered point per plan, its colour the loss of quality.

    Where discs would hide each other, points are dots and their numbers stand beside them.
    """
    canvas = Canvas(UNDER + 62, "Pareto front: speed against memory")
    canvas.text(16, 24, f"Pareto front {front.provenance}".rstrip() + ": predicted speed against memory", "ink b")
    chosen = front.number_of(in_force)
    _quality_scale(canvas, front, chosen is not None)
    x_of, y_of = _scales(canvas, front)
    most = _most_loss(front)
    points = [(x_of(own.memory_bytes), y_of(own.tokens_per_second)) for own in front]
    discs = apart(points)
    for (left, top), (x, y) in zip(points, discs, strict=True):
        if (left, top) != (x, y):
            canvas.line(left, top, x, y, "axis")
    for number, own in reversed(list(enumerate(front, 1))):
        point, (x, y) = points[number - 1], discs[number - 1]
        share = own.penalty / most
        canvas.add(f'<g data-plan="{number}">')
        if number == chosen:
            canvas.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="17" class="mark" fill="none" stroke-width="3"/>')
        if point != (x, y):
            dot = f'<circle cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="{DOT:g}"'
            canvas.add(f'{dot} fill="{cividis(share)}" class="rim"/>')
        canvas.add(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{DISC:g}" fill="{cividis(share)}" class="rim"/>'
            f'<text x="{x:.1f}" y="{y + 4.5:.1f}" text-anchor="middle" class="b" '
            f'fill="{"#fff" if share < 0.5 else "#1b1f24"}">{number}</text></g>'
        )
    return canvas.render()


def apart(points: Sequence[Point]) -> list[Point]:
    """Return where each point's disc stands: on the point, or beside it where other discs are too near.

    One after the other, the nearest ring around the point with room is taken, on it the place farthest from all else.
    """
    near = [any(dist(a, b) < 2 * DISC - 2 for j, b in enumerate(points) if i != j) for i, a in enumerate(points)]
    fixed = [point for point, crowded in zip(points, near, strict=True) if not crowded]
    dots = [point for point, crowded in zip(points, near, strict=True) if crowded]
    found = []
    for point, crowded in zip(points, near, strict=True):
        if crowded:
            point = _beside(point, fixed, dots)
            fixed.append(point)
        found.append(point)
    return found


def _beside(point: Point, discs: Sequence[Point], dots: Sequence[Point]) -> Point:
    """Return a free place for the disc of `point`; the point itself where there is none near."""
    others = [dot for dot in dots if dot != point]
    for apart_from_leaders, ring in product((DISC + 1, 0.0), range(25, 206, 10)):
        angles = [k * pi / 12 for k in range(24)]
        places = [(point[0] + ring * cos(angle), point[1] + ring * sin(angle)) for angle in angles]
        room = {
            place: min([dist(place, p) for p in [*discs, *others]] or [inf])
            for place in places
            if LEFT + DISC < place[0] < RIGHT - DISC and TOP < place[1] < UNDER - DISC
            and all(dist(place, disc) > 2 * DISC + 2 for disc in discs)
            and all(dist(place, dot) > DISC + DOT + 2 for dot in others)
            and all(_off(disc, point, place) >= apart_from_leaders for disc in discs)
        }  # fmt: skip
        if room:
            return max(room, key=lambda place: room[place])
    return point


def _off(point: Point, start: Point, end: Point) -> float:
    """Return how far `point` is from the line between `start` and `end`."""
    (ax, ay), (bx, by) = start, end
    along = ((point[0] - ax) * (bx - ax) + (point[1] - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
    share = min(1.0, max(0.0, along))
    return dist(point, (ax + share * (bx - ax), ay + share * (by - ay)))


def _most_loss(front: ParetoFront) -> float:
    return max(own.penalty for own in front) or 1.0


def _quality_scale(canvas: Canvas, front: ParetoFront, in_force: bool) -> None:
    if in_force:
        canvas.add(f'<circle cx="{LEFT + 8}" cy="41" r="7" class="mark" fill="none" stroke-width="3"/>')
        canvas.text(LEFT + 22, 46, "plan in force", "soft")
    canvas.text(RIGHT - 290, 46, "loss of quality 0", "soft", "end")
    for step in range(20):
        canvas.rect(RIGHT - 284 + step * 6, 35, 6.5, 12, cividis(step / 19))
    canvas.text(RIGHT - 156, 46, f"{_most_loss(front):.3g} (worst of the front)", "soft")


def _scales(canvas: Canvas, front: ParetoFront) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """Draw both axes; return where memory in bytes and tokens/s lie on them."""
    speeds = [own.tokens_per_second for own in front]
    logarithmic = max(speeds) > WIDE_RANGE * min(speeds)
    unit, name = next((u, n) for u, n in _UNITS if max(own.memory_bytes for own in front) >= u)
    sizes = [own.memory_bytes / unit for own in front]
    y_ticks = log_ticks(min(speeds), max(speeds)) if logarithmic else nice_ticks(0, max(speeds))
    x_ticks = nice_ticks(min(0.9 * min(sizes), 0.9 * max(sizes)), 1.04 * max(sizes), 7)

    def value(speed: float) -> float:
        return log10(speed) if logarithmic else speed

    low, high = value(y_ticks[0]), value(y_ticks[-1])

    def y_of(speed: float) -> float:
        return UNDER - 14 - (UNDER - TOP - 28) * (value(speed) - low) / (high - low)

    def x_of(size: float) -> float:
        return LEFT + 14 + (RIGHT - LEFT - 28) * (size / unit - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])

    canvas.y_axis(y_ticks, y_of, LEFT, RIGHT)
    canvas.line(LEFT, UNDER, RIGHT, UNDER, "axis")
    for tick in x_ticks:
        canvas.line(x_of(tick * unit), UNDER, x_of(tick * unit), UNDER + 5, "axis")
        canvas.text(x_of(tick * unit), UNDER + 20, f"{tick:g}", "soft", "middle")
    canvas.text(LEFT - 8, TOP - 12, "tokens/s", "soft", "end")
    where = f"memory taken on all devices that compute, {name}" + (" (speed on a log scale)" if logarithmic else "")
    canvas.text((LEFT + RIGHT) / 2, UNDER + 44, where, "soft", "middle")
    return x_of, y_of


_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))


def front_html(front: ParetoFront, in_force: PlanResult | None = None) -> str:
    """Return the static view: headline, picture, table; the plan in force is marked in all of them."""
    chosen = front.number_of(in_force)
    words = f"{front.headline()}. {_range_words(front)}"
    head = "".join(f'<th scope="col" style="{_HEAD}">{escape(name)}</th>' for name in front.HEADINGS)
    rows = "".join(_row(row, number == chosen) for number, row in enumerate(front.rows(), 1))
    said = "None of them is in force: %llm_plan --pick N takes plan N."
    if chosen:
        said = f"Plan {chosen} is in force."
    elif front[0].plan.simulated:
        said = "Simulated: nothing is put in force."
    return (
        f'<div style="{HTML_STYLE}"><div><b>{escape(front.headline())}.</b> {said}</div>'
        f"{image(front_svg(front, in_force), words)}"
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;margin:4px 0">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></div>"
    )


_CELL = "text-align:right;padding:3px 10px;white-space:nowrap"
_HEAD = f"{_CELL};white-space:normal;vertical-align:bottom"


def _row(cells: Sequence[str], chosen: bool) -> str:
    style = f"{_CELL};font-weight:600" if chosen else _CELL
    mark = "&#9654; " if chosen else ""
    return "<tr>" + "".join(
        f'<td style="{style}">{mark if column == 0 else ""}{escape(cell)}</td>' for column, cell in enumerate(cells)
    ) + "</tr>"  # fmt: skip


def _range_words(front: ParetoFront) -> str:
    def words(own: FrontPlan) -> str:
        return f"{format_speed(own.tokens_per_second)} tokens/s in {format_bytes(own.memory_bytes)}"

    return f"From {words(front[0])} to {words(front[-1])}."
