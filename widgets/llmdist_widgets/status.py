"""The machine as a picture: memories and what is in them, processors, links with their measured rates.

Columns from left to right: disks, host memory, GPUs. Rates are those of the profile, so what was not measured is
not drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from llmdist.hardware import HardwareProfile, describe
from llmdist.hardware.profile import Device, Link
from llmdist.units import format_bytes, format_rate, format_seconds

from .calibration import calibration_html
from .svg import WIDTH, Canvas, image
from .theme import HTML_STYLE, RESIDENT

if TYPE_CHECKING:
    from llmdist.session import Session

__all__ = ["machine_svg", "status_html"]

CARD_WIDTH, CARD_HEIGHT = 236, 158
TOP, TOP_UNDER_BOWS = 44, 116
LABEL_LETTERS = 26  # of name and label together, in the width of a card in a wide font
_COLUMNS = {"disk": 0, "cpu": 1}


def _places(devices: tuple[Device, ...], top: float = TOP) -> dict[str, tuple[float, float]]:
    """Return the upper left corner of every device's card; columns without a device close up."""
    columns: dict[int, list[str]] = {}
    for device in devices:
        columns.setdefault(_COLUMNS.get(device.kind, 2), []).append(device.name)
    high = max(len(names) for names in columns.values())
    step = (WIDTH - 32 - CARD_WIDTH) / max(1, len(columns) - 1)
    return {
        name: (16 + step * k, top + (CARD_HEIGHT + 24) * (i + (high - len(columns[column])) / 2))
        for k, column in enumerate(sorted(columns))
        for i, name in enumerate(columns[column])
    }


def machine_svg(hardware: HardwareProfile, held: Mapping[str, int], caps: Mapping[str, int]) -> str:
    """Return the picture; `held` are the bytes that llmdist uses per device, `caps` its limits."""
    places = _places(hardware.devices)
    if any(_bows(link, places) for link in hardware.links):
        places = _places(hardware.devices, TOP_UNDER_BOWS)
    bottom = max(y for _, y in places.values()) + CARD_HEIGHT
    canvas = Canvas(bottom + 42, f"The machine {hardware.machine}")
    canvas.text(16, 24, f"{hardware.machine}, {hardware.source} {hardware.date}", "ink b")
    for link in hardware.links:
        _link(canvas, link, places, any(k.source == link.target and k.target == link.source for k in hardware.links))
    for device in hardware.devices:
        _card(canvas, device, *places[device.name], held.get(device.name, 0), caps.get(device.name, 0))
    y = bottom + 26
    canvas.rect(16, y - 11, 12, 12, RESIDENT)
    canvas.text(34, y, "held by llmdist", "soft")
    canvas.rect(150, y - 11, 12, 12, "#8a929b")
    canvas.text(168, y, "used by others", "soft")
    canvas.line(290, y - 12, 290, y + 3, "axis", 'stroke-width="2"')
    canvas.text(298, y, "cap", "soft")
    return canvas.render()


def _card(canvas: Canvas, device: Device, x: float, y: float, held: int, cap: int) -> None:
    canvas.add(f'<rect x="{x:.0f}" y="{y:.0f}" width="{CARD_WIDTH}" height="{CARD_HEIGHT}" rx="8" class="bg axis"/>')
    canvas.text(x + 12, y + 24, device.name, "ink b")
    canvas.text(x + CARD_WIDTH - 12, y + 24, _label(device), "soft", "end")
    long, total = CARD_WIDTH - 24, max(1, device.memory_bytes)
    others = max(0, total - device.free_bytes - (held if device.executes else 0))
    canvas.rect(x + 12, y + 38, long, 16, kind="track")
    canvas.rect(x + 12, y + 38, long * min(1.0, others / total), 16, "#8a929b")
    left = x + 12 + long * min(1.0, others / total)
    canvas.rect(left, y + 38, min(long * held / total, x + 12 + long - left), 16, RESIDENT)
    if 0 < cap <= total and device.executes:
        edge = x + 12 + long * min(1.0, (others + cap) / total)
        canvas.line(edge, y + 34, edge, y + 58, "axis", 'stroke-width="2"')
    canvas.text(x + 12, y + 74, f"{format_bytes(device.free_bytes)} free of {format_bytes(total)}", "soft")
    of = f" of {format_bytes(cap)}" if cap and device.executes else ""
    canvas.text(x + 12, y + 93, f"llmdist holds {format_bytes(held)}{of}")
    for line, (words, kind) in enumerate(_prices(device)):
        canvas.text(x + 12, y + 112 + 17 * line, words, kind)


def _label(device: Device) -> str:
    """Return what the device is, short enough to stand beside its name; of a path the end tells more."""
    room = LABEL_LETTERS - len(device.name)
    if len(device.label) <= room:
        return device.label
    return "…" + device.label[1 - room :] if device.kind == "disk" else device.label[: room - 1] + "…"


def _prices(device: Device) -> list[tuple[str, str]]:
    """Return the lines (words, CSS class) of what was measured; a disk computes nothing."""
    if not device.bandwidth:
        return []
    rates = f"reads {format_rate(device.bandwidth)}" + (f", {_flops(device.flops)}" if device.flops else "")
    fixed = [(device.overhead_seconds, "block"), (device.pass_seconds, "token")]
    lines = [(f"fixed: {format_seconds(seconds)} per {per}", "soft") for seconds, per in fixed if seconds]
    return [(rates, "ink"), *lines]


def _flops(value: float) -> str:
    return f"{value / 1e12:.3g} TFLOP/s" if value >= 1e12 else f"{value / 1e9:.3g} GFLOP/s"


def _bows(link: Link, places: Mapping[str, tuple[float, float]]) -> bool:
    """Return whether the link passes over a column between its ends."""
    far = abs(places[link.target][0] - places[link.source][0]) > WIDTH / 2
    return far and len({x for x, _ in places.values()}) > 2


def _link(canvas: Canvas, link: Link, places: Mapping[str, tuple[float, float]], both: bool) -> None:
    """Draw an arrow from card to card; the way back runs lower, a link past a column bows over it."""
    (ax, ay), (bx, by) = places[link.source], places[link.target]
    if _bows(link, places):
        x1, x2, top = ax + CARD_WIDTH / 2, bx + CARD_WIDTH / 2, min(ay, by)
        path = f"M{x1:.0f} {ay:.0f}Q{(x1 + x2) / 2:.0f} {top - 84:.0f} {x2:.0f} {by - 4:.0f}"
        canvas.add(f'<path d="M{x2 - 5:.0f} {by - 11:.0f}l5 11l-11 -5z" class="soft"/>')
        canvas.text((x1 + x2) / 2, (ay + by) / 4 + (top - 84) / 2 - 7, format_rate(link.bandwidth), "ink b", "middle")
    else:
        right = bx > ax
        x1, x2 = (ax + CARD_WIDTH, bx - 6) if right else (ax, bx + CARD_WIDTH + 6)
        shift = (-16 if right else 16) if both else 0
        y1, y2 = ay + CARD_HEIGHT / 2 + shift, by + CARD_HEIGHT / 2 + shift
        path, tip = f"M{x1:.0f} {y1:.0f}L{x2:.0f} {y2:.0f}", 8 if right else -8
        canvas.add(f'<path d="M{x2 - tip:.0f} {y2 - 5:.0f}l{1.5 * tip:.0f} 5l{-1.5 * tip:.0f} 5z" class="soft"/>')
        height = (y1 + y2) / 2 + (-8 if right else 18)
        canvas.text((x1 + x2) / 2, height, format_rate(link.bandwidth), "ink b", "middle")
    canvas.add(f'<path d="{path}" class="axis" fill="none" stroke-width="2"/>')


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
            f"Plan: {plan.placement.count('resident')} blocks resident, {plan.placement.count('streamed')} streamed, "
            f"{plan.prediction.tokens_per_second:.3g} tokens/s predicted."
        )
    if stats.tokens:
        words += (
            f" Last run: {stats.tokens} tokens, {stats.tokens_per_second:.3g} tokens/s measured, first after "
            f"{format_seconds(stats.ttft_seconds)}."
        )
    return escape(words)
