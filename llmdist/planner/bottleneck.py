"""What limits a plan's speed, in one sentence: a link, a processor, its memory, or waits between them."""

from __future__ import annotations

from ..cost.timing import (
    copied_bytes,
    decode_step,
    host_seconds,
    own_seconds,
    reading_alone,
    transfer_seconds,
    used_seconds,
)
from ..units import format_bytes, format_rate, format_seconds
from .placement import Assignment
from .result import PlanResult

__all__ = ["bottleneck", "busy_seconds"]

_LIMITS = 0.9  # what is busy for this share of a token's time limits it


def busy_seconds(plan: PlanResult) -> dict[str, float]:
    """Return per resource the seconds of one token that it is in use.

    Resources are devices, links ``home>exec``, ``activations``, and ``the pass``: its fixed price. A split block keeps
    two devices busy, each for its own part; the join counts for the one that executes.
    """
    busy: dict[str, float] = {"the pass": plan.problem.pass_seconds} if plan.problem.pass_seconds else {}
    step = decode_step(plan.problem)
    previous = plan.placement.assignments[0].exec_device
    rows = zip(plan.problem.blocks, plan.placement.assignments, plan.prediction.copy_seconds, strict=True)
    for block, choice, copy in rows:
        own, other = used_seconds(plan.problem, block, choice, step)
        busy[choice.exec_device] = busy.get(choice.exec_device, 0.0) + own
        if host := _host(plan, choice):
            busy[host] = busy.get(host, 0.0) + other
        if copy:
            link = f"{choice.home_device}>{choice.exec_device}"
            busy[link] = busy.get(link, 0.0) + copy
        if choice.exec_device != previous:
            passed = transfer_seconds(plan.problem, previous, choice.exec_device, step)
            busy["activations"] = busy.get("activations", 0.0) + passed
            previous = choice.exec_device
    return busy


def _host(plan: PlanResult, choice: Assignment) -> str | None:
    """Return the name of the CPU that computes a part of a split block; None for others."""
    host = plan.problem.host(choice.exec_device) if choice.cpu_eighths else None
    return None if host is None else host.name


def bottleneck(plan: PlanResult) -> str:
    """Return which link, memory or device limits the time per token, with numbers."""
    busy = busy_seconds(plan)
    load = plan.problem.workload
    pass_seconds = plan.prediction.tpot_seconds * load.accepted
    where = " on the simulated machine" if plan.simulated else ""
    unit = "token" if load.batch == load.tokens_per_pass == 1 else "pass"
    total = f"{format_seconds(pass_seconds)} per {unit}{where}"
    name, longest = max(busy.items(), key=lambda item: item[1])
    if name == "the pass" and longest >= 0.5 * pass_seconds:
        return (
            f"The fixed price of a pass limits: {format_seconds(longest)} of {total}, for asking the engine"
            f"{', guessing' if plan.problem.workload.draft_seconds else ''} and "
            "choosing the token; a larger model or more sequences per pass would make it small."
        )
    if longest < _LIMITS * pass_seconds and len(busy) > 1:
        return _waits(busy, total)
    if name == "activations":
        return f"The way of the activations between devices limits: {format_seconds(longest)} of {total}."
    if ">" in name:
        return _link(plan, name, longest, total)
    return _device(plan, name, longest, total)


def _waits(busy: dict[str, float], total: str) -> str:
    parts = sorted(busy.items(), key=lambda item: -item[1])
    words = ", ".join(f"{name} is busy {format_seconds(seconds)}" for name, seconds in parts[:3])
    if any(">" in name for name in busy):
        return f"No part alone limits: {words} of {total}; copies and computing wait for each other."
    return f"The devices limit in turn: {words} of {total}, one after the other."


def _link(plan: PlanResult, name: str, seconds: float, total: str) -> str:
    home, execute = name.split(">")
    link = plan.problem.link(home, execute)
    assert link is not None, "a copy without a link"
    cap, used = plan.problem.cap(execute), plan.prediction.peak_bytes[execute]
    step = decode_step(plan.problem)
    pairs = zip(plan.problem.blocks, plan.placement.assignments, strict=True)
    ways = ((b, a) for b, a in pairs if a.copies and (a.home_device, a.exec_device) == (home, execute))
    copied = sum(copied_bytes(plan.problem, b, a, step) for b, a in ways)
    return (
        f"The link {name} limits: it is busy {format_seconds(seconds)} of {total}, copying "
        f"{format_bytes(copied)} at {format_rate(link.bandwidth)}, because {execute} holds "
        f"{format_bytes(used)} of its {format_bytes(cap)}."
    )


def _device(plan: PlanResult, name: str, seconds: float, total: str) -> str:
    """Split a device's time into its fixed price per block and what reading (or computing) takes."""
    device = next(d for d in plan.problem.devices if d.name == name)
    count = sum(name in (c.exec_device, _host(plan, c)) for c in plan.placement.assignments)
    fixed = count * device.overhead_seconds
    if fixed > 0.5 * seconds:
        return (
            f"The fixed price of {count} blocks on {name} limits: {format_seconds(fixed)} of {total} at "
            f"{format_seconds(device.overhead_seconds)} each; reading the weights takes "
            f"{format_seconds(seconds - fixed)}."
        )
    reading = _reading_seconds(plan, name)
    if seconds - fixed > 1.05 * reading:
        return (
            f"Computing on {name} limits: {format_seconds(seconds - fixed)} of {total} at "
            f"{device.flops / 1e12:.3g} TFLOP/s, where reading weights and KV cache would take "
            f"{format_seconds(reading)}."
        )
    return (
        f"The memory of {name} limits: reading weights and KV cache at {format_rate(device.bandwidth)} takes "
        f"{format_seconds(reading)} of {total}, the fixed price of {count} blocks {format_seconds(fixed)}."
    )


def _reading_seconds(plan: PlanResult, name: str) -> float:
    """Return what the device's blocks would take if multiplying were free and blocks had no fixed price."""
    problem = reading_alone(plan.problem)
    step, seconds = decode_step(problem), 0.0
    for block, choice in zip(problem.blocks, plan.placement.assignments, strict=True):
        seconds += own_seconds(problem, block, choice, step) * (choice.exec_device == name)
        seconds += host_seconds(problem, block, choice, step) * (_host(plan, choice) == name)
    return seconds
