"""Pictures of a Pareto front: speed against memory, colour for quality, and its table; from the front alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import log10

from llmdist.planner import FrontPlan, ParetoFront, PlanResult
from llmdist.units import format_bytes, format_speed

from .svg import WIDTH, Canvas, image, log_ticks, nice_ticks
from .theme import HTML_STYLE, cividis

__all__ = ["front_html", "front_svg"]

LEFT, RIGHT, TOP, UNDER = 96, WIDTH - 30, 66, 370
WIDE_RANGE = 8.0  # speeds that differ by more are drawn on a logarithmic scale


def front_svg(front: ParetoFront, in_force: PlanResult | None = None) -> str:
    """Return predicted tokens/s against memory: a numbered point per plan, its colour the loss of quality."""
    canvas = Canvas(UNDER + 62, "Pareto front: speed against memory")
    canvas.text(16, 24, f"Pareto front {front.provenance}".rstrip() + ": predicted speed against memory", "ink b")
    _quality_scale(canvas, front)
    x_of, y_of = _scales(canvas, front)
    chosen = front.number_of(in_force)
    most = _most_loss(front)
    for number, own in reversed(list(enumerate(front, 1))):
        x, y = x_of(own.memory_bytes), y_of(own.tokens_per_second)
        share = own.penalty / most
        canvas.add(f'<g data-plan="{number}">')
        if number == chosen:
            canvas.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="17" class="mark" fill="none" stroke-width="3"/>')
        canvas.add(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="12" fill="{cividis(share)}" class="rim"/>'
            f'<text x="{x:.1f}" y="{y + 4.5:.1f}" text-anchor="middle" class="b" '
            f'fill="{"#fff" if share < 0.5 else "#1b1f24"}">{number}</text></g>'
        )
    return canvas.render()


def _most_loss(front: ParetoFront) -> float:
    return max(own.penalty for own in front) or 1.0


def _quality_scale(canvas: Canvas, front: ParetoFront) -> None:
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
    said = f"Plan {chosen} is in force." if chosen else "None of them is in force: %llm_plan --pick N takes plan N."
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
