"""The prices of a placement one by one, and a profile with some of them corrected."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from ..cost.memory import needs_slot
from ..cost.reference import tpot_seconds
from ..cost.timing import compute_seconds, copy_seconds, decode_step, demand_seconds
from ..hardware.profile import Device, HardwareProfile
from ..model.blocks import PLAIN_PRECISIONS, ModelProfile
from ..planner.placement import Placement
from ..planner.problem import PlanningProblem, Workload

__all__ = [
    "PASS", "compute_term", "copy_term", "corrected", "handover_term", "pass_seconds", "predicted_terms", "priced_as",
    "term_words",
]  # fmt: skip

PASS = "pass"


def compute_term(device: str, precision: str) -> str:
    """Return the name of the price of computing on `device` in `precision`."""
    return f"compute {device} {precision}"


def copy_term(home: str, device: str) -> str:
    """Return the name of the price of copies from `home` to `device`."""
    return f"copy {home}>{device}"


def handover_term(device: str) -> str:
    """Return the name of the price of handing a streamed block over to the CPU `device`."""
    return f"handover {device}"


def term_words(name: str) -> str:
    """Return a price's name as people say it: ``computing in bf16 on cpu``."""
    kind, *rest = name.split()
    if kind == "compute":
        return f"computing in {rest[1]} on {rest[0]}"
    if kind == "copy":
        return "copies from {} to {}".format(*rest[0].split(">"))
    return f"hand-over to {rest[0]}" if kind == "handover" else "price of a pass"


def corrected(hardware: HardwareProfile, factors: Mapping[str, float]) -> HardwareProfile:
    """Return the profile in which every price named in `factors` is so many times as dear."""

    def device(found: Device) -> Device:
        handover = factors.get(handover_term(found.name), 1.0)
        prefix = compute_term(found.name, "")
        return replace(
            found,
            pass_seconds=found.pass_seconds * factors.get(PASS, 1.0),
            handover_seconds=found.handover_seconds * handover,
            handover_seconds_per_byte=found.handover_seconds_per_byte * handover,
            precision_factors={name[len(prefix) :]: f for name, f in factors.items() if name.startswith(prefix)},
        )

    links = tuple(
        replace(link, bandwidth=link.bandwidth / factor, latency_seconds=link.latency_seconds * factor)
        for link in hardware.links
        for factor in (factors.get(copy_term(link.source, link.target), 1.0),)
    )
    return replace(hardware, devices=tuple(map(device, hardware.devices)), links=links)


def priced_as(
    profile: ModelProfile, hardware: HardwareProfile, placement: Placement, context: int, slots: int, kv: str = ""
) -> PlanningProblem:
    """Return the problem that prices `placement` for one sequence of `context` tokens; it is not one to search."""
    precisions = tuple(dict.fromkeys(choice.precision for choice in placement.assignments))
    plain = next((name for name in precisions if name in PLAIN_PRECISIONS), "bf16")
    return PlanningProblem(
        profile.blocks, hardware.devices, hardware.links, profile.hidden_size,
        Workload(1, max(1, context - 1), 1, kv_precision=kv or plain), precisions=precisions, slots=slots,
    )  # fmt: skip


def pass_seconds(
    profile: ModelProfile, hardware: HardwareProfile, placement: Placement, context: int, slots: int, kv: str = ""
) -> float:
    """Return the predicted seconds per token; `kv` is the KV cache's precision, by default the weights' plain one."""
    return tpot_seconds(priced_as(profile, hardware, placement, context, slots, kv), placement)


def predicted_terms(problem: PlanningProblem, placement: Placement) -> dict[str, float]:
    """Return the seconds of one decode pass per price; copies count whole, hidden or not."""
    step, kinds = decode_step(problem), {device.name: device.kind for device in problem.devices}
    found: dict[str, float] = defaultdict(float)
    found[PASS] = problem.pass_seconds
    for block, choice in zip(problem.blocks, placement.assignments, strict=True):
        device = choice.exec_device
        found[compute_term(device, choice.precision)] += compute_seconds(problem, block, choice, step)
        if needs_slot(block, choice):
            found[copy_term(choice.home_device, device)] += copy_seconds(problem, block, choice, step)
            if kinds[device] == "cpu":
                found[handover_term(device)] += demand_seconds(problem, block, choice, step)
    return dict(found)
