"""Seconds of one block, one copy and one activation transfer, in decode and in prefill: the equations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..model.blocks import BYTES_PER_PARAMETER, Block
from .memory import kv_bytes, own_bytes

if TYPE_CHECKING:
    from ..hardware.profile import Device
    from ..planner.placement import Assignment
    from ..planner.problem import PlanningProblem

__all__ = [
    "Step",
    "bus_bytes",
    "compute_seconds",
    "copied_bytes",
    "copy_seconds",
    "decode_step",
    "demand_seconds",
    "host_seconds",
    "own_seconds",
    "prefill_step",
    "reading_alone",
    "transfer_seconds",
    "transfer_table",
    "used_seconds",
]

ACTIVATION_BYTES = 2


@dataclass(frozen=True, slots=True)
class Step:
    """One pass of the chain: tokens per sequence, and the mean context that each attends to."""

    tokens: int
    context: float


def decode_step(problem: PlanningProblem) -> Step:
    """Return the pass that makes the next tokens with a full context."""
    return Step(problem.workload.tokens_per_pass, problem.workload.context)


def prefill_step(problem: PlanningProblem) -> Step:
    """Return the pass over the prompt."""
    tokens = max(1, problem.workload.prompt_tokens)
    return Step(tokens, tokens / 2)


def _rows(problem: PlanningProblem, step: Step) -> int:
    return step.tokens * problem.workload.batch


def copied_bytes(problem: PlanningProblem, block: Block, assignment: Assignment, step: Step) -> int:
    """Return the bytes that one pass copies: the weights, an embedding's rows, or the routed experts."""
    if not assignment.copies:
        return 0
    if block.kind == "embed":
        rows = block.parameters_per_token * _rows(problem, step)
        return int(rows * BYTES_PER_PARAMETER[assignment.precision])
    share = block.active_share(_rows(problem, step)) if assignment.on_demand else 1.0
    return int(own_bytes(block, assignment) * share)


def copy_seconds(problem: PlanningProblem, block: Block, assignment: Assignment, step: Step) -> float:
    """Return the seconds of copying the block's weights to its exec device; 0 if they are there."""
    if not assignment.copies:
        return 0.0
    link = problem.link(assignment.home_device, assignment.exec_device)
    if link is None:
        return float("inf")
    begun = block.hit_share(_rows(problem, step)) if assignment.on_demand else 1.0
    return copied_bytes(problem, block, assignment, step) / link.bandwidth + link.latency_seconds * begun


def _read_bytes(problem: PlanningProblem, block: Block, precision: str, step: Step) -> float:
    """Return the weights and the KV cache that one pass reads where the whole block is computed."""
    weights = block.parameters_read(_rows(problem, step)) * BYTES_PER_PARAMETER[precision]
    workload = problem.workload
    return weights + kv_bytes(problem, block) / workload.in_flight * step.context / workload.context


def _seconds_on(
    device: Device, share: float, problem: PlanningProblem, block: Block, precision: str, step: Step
) -> float:
    rows = _rows(problem, step)
    flops = block.flops_per_token + block.attention_flops_per_context * step.context
    read = _read_bytes(problem, block, precision, step)
    factor = device.precision_factors.get(precision, 1.0)
    seconds = max(factor * read / device.bandwidth, flops * rows / device.flops)
    begun = block.hit_share(rows) if block.kind == "experts" else 1.0
    return seconds * share + factor * device.overhead_seconds * begun


def own_seconds(problem: PlanningProblem, block: Block, assignment: Assignment, step: Step) -> float:
    """Return the seconds that the exec device computes: all of a block, or its part of a split one."""
    device = next(d for d in problem.devices if d.name == assignment.exec_device)
    return _seconds_on(device, assignment.own_share, problem, block, assignment.precision, step)


def host_seconds(problem: PlanningProblem, block: Block, assignment: Assignment, step: Step) -> float:
    """Return the seconds that a split block keeps the CPU beside its exec device busy; 0 if not split."""
    host = problem.host(assignment.exec_device) if assignment.cpu_eighths else None
    if host is None:
        return 0.0
    return _seconds_on(host, 1.0 - assignment.own_share, problem, block, assignment.precision, step)


def _join_seconds(problem: PlanningProblem, device: str, step: Step) -> float:
    """Return the price of one join: the handshake, activations to the CPU and its part of the sum back."""
    host = problem.host(device)
    links = [] if host is None else [problem.link(host.name, device), problem.link(device, host.name)]
    size = problem.hidden_size * ACTIVATION_BYTES * _rows(problem, step)
    return problem.join_seconds + sum(size / link.bandwidth if link else float("inf") for link in links)


def compute_seconds(problem: PlanningProblem, block: Block, assignment: Assignment, step: Step) -> float:
    """Return the seconds of computing the block once, its weights being at hand."""
    own = own_seconds(problem, block, assignment, step)
    if not assignment.cpu_eighths:
        return own
    other = host_seconds(problem, block, assignment, step)
    return max(own, other) + _join_seconds(problem, assignment.exec_device, step)


def used_seconds(problem: PlanningProblem, block: Block, assignment: Assignment, step: Step) -> tuple[float, float]:
    """Return the seconds that computing the block keeps its exec device busy, the join included, and its CPU."""
    join = _join_seconds(problem, assignment.exec_device, step) if assignment.cpu_eighths else 0.0
    own, other = own_seconds(problem, block, assignment, step), host_seconds(problem, block, assignment, step)
    return own + join, other


def reading_alone(problem: PlanningProblem) -> PlanningProblem:
    """Return the problem on devices that multiply for free and have no price of a block: what is left is reading."""
    free = tuple(replace(d, flops=float("inf"), overhead_seconds=0.0) for d in problem.devices)
    return replace(problem, devices=free)


def demand_seconds(problem: PlanningProblem, block: Block, assignment: Assignment, step: Step) -> float:
    """Return the wait before a block: for an embedding's rows or the routed experts, known only when reached.

    The embedding, which is first, also waits for the pass to begin: the problem's `pass_seconds`. A block that is
    streamed to a CPU waits for its hand-over.
    """
    begin = problem.pass_seconds if block.kind == "embed" else 0.0
    handed = _handover_seconds(problem, block, assignment, step)
    return begin + handed + _rows_seconds(problem, block, assignment, step)


def _handover_seconds(problem: PlanningProblem, block: Block, assignment: Assignment, step: Step) -> float:
    """Return what bringing a streamed block takes from the CPU that computes it; 0 on other devices."""
    device = next(d for d in problem.devices if d.name == assignment.exec_device)
    if not assignment.copies or device.kind != "cpu" or block.kind == "embed" or assignment.on_demand:
        return 0.0
    return device.handover_seconds + copied_bytes(problem, block, assignment, step) * device.handover_seconds_per_byte


def _rows_seconds(problem: PlanningProblem, block: Block, assignment: Assignment, step: Step) -> float:
    if not assignment.copies or (block.kind != "embed" and not assignment.on_demand):
        return 0.0
    return copy_seconds(problem, block, assignment, step)


def bus_bytes(problem: PlanningProblem, block: Block, assignment: Assignment, step: Step) -> tuple[str, float]:
    """Return (CPU, bytes that cross its memory's bus in one pass): what it reads, and what is copied through it."""
    host = problem.host(assignment.exec_device)
    if host is None:
        return "", 0.0
    moved = float(copied_bytes(problem, block, assignment, step))
    if assignment.exec_device == host.name:
        return host.name, moved + _read_bytes(problem, block, assignment.precision, step)
    part = 1.0 - assignment.own_share
    return host.name, moved + (_read_bytes(problem, block, assignment.precision, step) * part if part else 0.0)


def transfer_table(problem: PlanningProblem, step: Step) -> dict[tuple[str, str], float]:
    """Return the seconds of moving activations between any two exec devices, over the quickest path of links."""
    names = [device.name for device in problem.devices if device.executes]
    size = problem.hidden_size * ACTIVATION_BYTES * _rows(problem, step)
    seconds = {(s, t): 0.0 if s == t else float("inf") for s in names for t in names}
    for link in problem.links:
        pair = (link.source, link.target)
        if pair in seconds and pair[0] != pair[1]:
            seconds[pair] = min(seconds[pair], link.latency_seconds + size / link.bandwidth)
    for through in names:
        for s in names:
            for t in names:
                seconds[s, t] = min(seconds[s, t], seconds[s, through] + seconds[through, t])
    return seconds


def transfer_seconds(problem: PlanningProblem, source: str, target: str, step: Step) -> float:
    """Return the seconds of moving activations from `source` to `target`; infinite without a path."""
    return transfer_table(problem, step)[source, target]
