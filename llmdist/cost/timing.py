"""Seconds of one block, one copy and one activation transfer, in decode and in prefill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..model.blocks import BYTES_PER_PARAMETER, Block
from .memory import kv_bytes

if TYPE_CHECKING:
    from ..planner.placement import Assignment
    from ..planner.problem import PlanningProblem

__all__ = [
    "Step",
    "compute_seconds",
    "copied_bytes",
    "copy_seconds",
    "decode_step",
    "demand_seconds",
    "prefill_step",
    "transfer_seconds",
]

ACTIVATION_BYTES = 2


@dataclass(frozen=True, slots=True)
class Step:
    """One pass of the chain: tokens per sequence, and the mean context that each attends to."""

    tokens: int
    context: float


def decode_step(problem: PlanningProblem) -> Step:
    """Return the pass that makes one token with a full context."""
    return Step(1, problem.workload.context)


def prefill_step(problem: PlanningProblem) -> Step:
    """Return the pass over the prompt."""
    tokens = max(1, problem.workload.prompt_tokens)
    return Step(tokens, tokens / 2)


def _rows(problem: PlanningProblem, step: Step) -> int:
    return step.tokens * problem.workload.batch


def copied_bytes(problem: PlanningProblem, block: Block, assignment: Assignment, step: Step) -> int:
    """Return the bytes that one pass copies: all weights of a streamed block, rows of an embedding."""
    if assignment.mode == "resident":
        return 0
    if block.kind == "embed":
        rows = block.parameters_per_token * _rows(problem, step)
        return int(rows * BYTES_PER_PARAMETER[assignment.precision])
    return block.weight_bytes(assignment.precision)


def copy_seconds(problem: PlanningProblem, block: Block, assignment: Assignment, step: Step) -> float:
    """Return the seconds of copying the block's weights to its exec device; 0 if resident."""
    if assignment.mode == "resident":
        return 0.0
    link = problem.link(assignment.home_device, assignment.exec_device)
    if link is None:
        return float("inf")
    return copied_bytes(problem, block, assignment, step) / link.bandwidth + link.latency_seconds


def compute_seconds(problem: PlanningProblem, block: Block, assignment: Assignment, step: Step) -> float:
    """Return the seconds of computing the block once, its weights being at hand."""
    device = next(d for d in problem.devices if d.name == assignment.exec_device)
    reads = _rows(problem, step) if block.kind == "embed" else 1
    weights = block.parameters_per_token * reads * BYTES_PER_PARAMETER[assignment.precision]
    kept = kv_bytes(problem, block) * step.context / problem.workload.context
    flops = block.flops_per_token + block.attention_flops_per_context * step.context
    seconds = max((weights + kept) / device.bandwidth, flops * _rows(problem, step) / device.flops)
    return seconds + device.overhead_seconds


def demand_seconds(problem: PlanningProblem, block: Block, assignment: Assignment, step: Step) -> float:
    """Return the wait for a streamed embedding's rows: they are known only once the token is."""
    if block.kind != "embed" or assignment.mode == "resident":
        return 0.0
    return copy_seconds(problem, block, assignment, step)


def transfer_seconds(problem: PlanningProblem, source: str, target: str, step: Step) -> float:
    """Return the seconds of moving activations, through the CPU if need be; infinite without a path."""
    if source == target:
        return 0.0
    size = problem.hidden_size * ACTIVATION_BYTES * _rows(problem, step)
    direct = problem.link(source, target)
    if direct is not None:
        return direct.latency_seconds + size / direct.bandwidth
    for device in problem.devices:
        first, second = problem.link(source, device.name), problem.link(device.name, target)
        if device.kind == "cpu" and first is not None and second is not None:
            latency = first.latency_seconds + second.latency_seconds
            return latency + size / first.bandwidth + size / second.bandwidth
    return float("inf")
