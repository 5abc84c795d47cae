"""The machine as a picture: memories and what is in them, processors, links with their measured rates.

Columns from left to right: disks, host memory, GPUs. Links between neighbours are lines, the others a line of text in
the card that they reach. Rates are those of the profile, so what was not measured is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import atan2, degrees
from typing import TYPE_CHECKING

from llmdist.hardware import HardwareProfile, describe
from llmdist.hardware.profile import Device, Link
from llmdist.units import format_bytes, format_rate, format_seconds, format_speed

from .calibration import calibration_html
from .svg import WIDTH, Canvas, image
from .theme import HTML_STYLE, RESIDENT

if TYPE_CHECKING:
    from llmdist.session import Session

__all__ = ["machine_svg", "status_html"]

CARD_WIDTH, CARD_HEIGHT, TOP = 236, 208, 44
LABEL_LETTERS = 27  # in the width of a card in a wide font
_COLUMNS = {"disk": 0, "cpu": 1}


def _places(devices: tuple[Device, ...]) -> dict[str, tuple[float, float]]:
    """Return the upper left corner of every device's card; columns without a device close up."""
    columns: dict[int, list[str]] = {}
    for device in devices:
        columns.setdefault(_COLUMNS.get(device.kind, 2), []).append(device.name)
    high = max(len(names) for names in columns.values())
    step = (WIDTH - 32 - CARD_WIDTH) / max(1, len(columns) - 1)
    return {
        name: (16 + step * k, TOP + (CARD_HEIGHT + 24) * (i + (high - len(columns[column])) / 2))
        for k, column in enumerate(sorted(columns))
        for i, name in enumerate(columns[column])
    }


def machine_svg(hardware: HardwareProfile, held: Mapping[str, int], caps: Mapping[str, int]) -> str:
    """Return the picture; `held` are the bytes that llmdist uses per device, `caps` its limits."""
    places = _places(hardware.devices)
    bottom = max(y for _, y in places.values()) + CARD_HEIGHT
    canvas = Canvas(bottom + 42, f"The machine {hardware.machine}")
    canvas.text(16, 24, f"{hardware.machine}, {hardware.source} {hardware.date}", "ink b")
    drawn = [link for link in hardware.links if _beside(link, places)]
    rates = {(link.source, link.target): link.bandwidth for link in drawn}
    for (source, target), rate in rates.items():
        back = rates.get((target, source))
        if back is None or places[source][0] < places[target][0]:  # a path both ways is drawn once
            _link(canvas, places[source], places[target], rate, back)
    for device in hardware.devices:
        others = [link for link in hardware.links if link.target == device.name and link not in drawn]
        lines = [*_prices(device), *((words, "soft") for words in _from_others(others))]
        _card(canvas, device, lines, places[device.name], held.get(device.name, 0), caps.get(device.name, 0))
    y = bottom + 26
    canvas.rect(16, y - 11, 12, 12, RESIDENT)
    canvas.text(34, y, "held by llmdist", "soft")
    canvas.rect(150, y - 11, 12, 12, "#8a929b")
    canvas.text(168, y, "used by others", "soft")
    canvas.line(290, y - 12, 290, y + 3, "axis", 'stroke-width="2"')
    canvas.text(298, y, "cap", "soft")
    return canvas.render()


def _card(
    canvas: Canvas, device: Device, lines: list[tuple[str, str]], place: tuple[float, float], held: int, cap: int
) -> None:
    x, y = place
    canvas.add(f'<rect x="{x:.0f}" y="{y:.0f}" width="{CARD_WIDTH}" height="{CARD_HEIGHT}" rx="8" class="bg axis"/>')
    canvas.text(x + 12, y + 24, device.name, "ink b")
    for line, words in enumerate(label_lines(device)):
        canvas.text(x + 12, y + 43 + 16 * line, words, "soft")
    top = y + 70
    long, total = CARD_WIDTH - 24, max(1, device.memory_bytes)
    others = max(0, total - device.free_bytes - (held if device.executes else 0))
    canvas.rect(x + 12, top, long, 16, kind="track")
    canvas.rect(x + 12, top, long * min(1.0, others / total), 16, "#8a929b")
    left = x + 12 + long * min(1.0, others / total)
    canvas.rect(left, top, min(long * held / total, x + 12 + long - left), 16, RESIDENT)
    if 0 < cap <= total and device.executes:
        edge = x + 12 + long * min(1.0, (others + cap) / total)
        canvas.line(edge, top - 4, edge, top + 20, "axis", 'stroke-width="2"')
    canvas.text(x + 12, top + 36, f"{format_bytes(device.free_bytes)} free of {format_bytes(total)}", "soft")
    of = f" of {format_bytes(cap)}" if cap and device.executes else ""
    canvas.text(x + 12, top + 55, f"llmdist: {format_bytes(held)}{of}")
    for line, (words, kind) in enumerate(lines):
        canvas.text(x + 12, top + 74 + 17 * line, words, kind)


def label_lines(device: Device) -> list[str]:
    """Return what the device is in at most two lines, broken between words; of a path the end tells more."""
    label = device.label
    if len(label) <= LABEL_LETTERS:
        return [label] if label else []
    if device.kind == "disk":
        end = label[1 - LABEL_LETTERS :]
        return ["…" + end[max(0, end.find("/")) :]]  # whole names of folders
    cut = label.rfind(", ", 0, LABEL_LETTERS) + 1
    if len(label) - cut > LABEL_LETTERS or cut == 0:
        cut = label.rfind(" ", 0, LABEL_LETTERS + 1)
    cut = cut if cut > 0 else LABEL_LETTERS
    rest = label[cut:].strip()
    return [label[:cut], rest if len(rest) <= LABEL_LETTERS else rest[: LABEL_LETTERS - 1] + "…"]


def _prices(device: Device) -> list[tuple[str, str]]:
    """Return the lines (words, CSS class) of what was measured; a disk computes nothing."""
    if not device.bandwidth:
        return []
    rates = f"reads {format_rate(device.bandwidth)}" + (f", {_flops(device.flops)}" if device.flops else "")
    fixed = [(device.overhead_seconds, "block"), (device.pass_seconds, "token")]
    lines = [(f"fixed: {format_seconds(seconds)} a {per}", "soft") for seconds, per in fixed if seconds]
    return [(rates, "ink"), *lines]


def _flops(value: float) -> str:
    return f"{value / 1e12:.3g} TFLOP/s" if value >= 1e12 else f"{value / 1e9:.3g} GFLOP/s"


def _beside(link: Link, places: Mapping[str, tuple[float, float]]) -> bool:
    """Return whether the link joins two neighbouring columns, so that its line meets no card on its way."""
    columns = sorted({x for x, _ in places.values()})
    return abs(columns.index(places[link.source][0]) - columns.index(places[link.target][0])) == 1


def _from_others(links: list[Link]) -> list[str]:
    """Return in a line of the card how fast the links are that are not drawn."""
    if not links:
        return []
    low, high = min(link.bandwidth for link in links), max(link.bandwidth for link in links)
    who = links[0].source if len(links) == 1 else f"{len(links)} others"
    rate = format_rate(high) if low == high else f"{format_rate(low)} to {format_rate(high)}"
    return [f"from {who} {rate}" + (" each" if len(links) > 1 and low == high else "")]


def _link(
    canvas: Canvas, source: tuple[float, float], target: tuple[float, float], rate: float, back: float | None
) -> None:
    """Draw a line from card to card with its rate, a head at both ends where there is a way back."""
    (ax, ay), (bx, by) = source, target
    right = bx > ax
    x1, x2 = (ax + CARD_WIDTH, bx) if right else (ax, bx + CARD_WIDTH)
    y1, y2 = ay + CARD_HEIGHT / 2, by + CARD_HEIGHT / 2
    canvas.line(x1, y1, x2, y2, "axis", 'stroke-width="2"')
    _head(canvas, x1, y1, x2, y2)
    if back is not None:
        _head(canvas, x2, y2, x1, y1)
    lines = [format_rate(rate)]
    if back is not None and back != rate:
        lines = [f"→ {lines[0]}" if right else f"← {lines[0]}", f"{'←' if right else '→'} {format_rate(back)}"]
    top = (y1 + y2) / 2 - (18 * len(lines) - 10 if y1 == y2 else 9 * len(lines) - 14)  # on a slope over the line
    for number, words in enumerate(lines):
        canvas.text((x1 + x2) / 2, top + 18 * number, words, "ink b halo", "middle")


def _head(canvas: Canvas, x1: float, y1: float, x2: float, y2: float) -> None:
    """Draw an arrow head at (x2, y2) that points along the line from (x1, y1)."""
    angle = degrees(atan2(y2 - y1, x2 - x1))
    place = f"translate({x2:.0f} {y2:.0f}) rotate({angle:.1f})"
    canvas.add(f'<path d="M-12 -5L0 0L-12 5z" class="soft" transform="{place}"/>')


def status_html(session: Session) -> str:
    """Return the status view of a session: the machine, what is loaded, the last run."""
    plan = session.plan_result
    names = [device.name for device in session.hardware.devices]
    held = dict(session.stats.peak_bytes) if session.engine_pid or session.stats.tokens else {}
    if plan is not None:
        held |= {n: b for n, b in plan.prediction.peak_bytes.items() if n in names and n not in held}
    caps = {name: plan.problem.cap(name) for name in names} if plan is not None else {}
    picture = image(machine_svg(session.hardware, held, caps), describe(session.hardware))
    loaded = (
        f"<b>{escape(session.model_name)}</b>: {session.checkpoint.config.family}, "
        f"{session.profile.parameters / 1e6:.3g} M weights in {session.profile.precision}, "
        f"{len(session.profile.blocks)} blocks, context {session.profile.max_context}."
    )
    runs = calibration_html(session.calibration, session.predictions) if session.calibration is not None else ""
    return f'<div style="{HTML_STYLE}"><div>{loaded}</div><div>{_run(session)}</div>{picture}{runs}</div>'


def _run(session: Session) -> str:
    plan, stats = session.plan_result, session.stats
    words = "No plan yet: %llm_plan makes one."
    if plan is not None:
        words = (
            f"Plan: {plan.placement.counted()}, "
            f"{format_speed(plan.prediction.tokens_per_second)} tokens/s predicted."
        )
    if stats.tokens:
        words += (
            f" Last run: {stats.tokens} tokens, {format_speed(stats.tokens_per_second)} tokens/s measured, first after "
            f"{format_seconds(stats.ttft_seconds)}."
        )
    return escape(words)
