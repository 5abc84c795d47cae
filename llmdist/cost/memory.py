"""Peak bytes per device of one placement: weights, KV cache, staging slots and workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.blocks import Block

if TYPE_CHECKING:
    from ..planner.placement import Assignment, Placement
    from ..planner.problem import PlanningProblem

__all__ = [
    "cap_bytes",
    "kv_bytes",
    "needs_slot",
    "own_bytes",
    "peak_bytes",
    "pinned_bytes",
    "quality_penalty",
    "rest_bytes",
    "slot_bytes",
]


def kv_bytes(problem: PlanningProblem, block: Block) -> float:
    """Return the bytes of KV cache that `block` keeps on its exec device for the whole context."""
    workload = problem.workload
    sequences = workload.batch * workload.in_flight
    return block.kv_bytes_per_token(workload.kv_precision) * workload.context * sequences


def own_bytes(block: Block, assignment: Assignment) -> int:
    """Return the bytes of weights that the exec device computes with: all but the CPU's part of a split."""
    return int(block.weight_bytes(assignment.precision) * assignment.own_share)


def rest_bytes(problem: PlanningProblem, block: Block, assignment: Assignment) -> dict[str, float]:
    """Return the bytes that `block` holds for good, by device: weights where they rest, KV where it executes."""
    used = {assignment.home_device: float(own_bytes(block, assignment))}
    used[assignment.exec_device] = used.get(assignment.exec_device, 0.0) + kv_bytes(problem, block)
    host = problem.host(assignment.exec_device) if assignment.cpu_eighths else None
    if host is not None:
        part = block.weight_bytes(assignment.precision) - own_bytes(block, assignment)
        used[host.name] = used.get(host.name, 0.0) + part
    return used


def needs_slot(block: Block, assignment: Assignment) -> bool:
    """Whether the weights pass through a staging slot (an embedding's rows do not)."""
    return assignment.copies and block.kind != "embed"


def slot_bytes(block: Block, assignment: Assignment) -> int:
    """Return the staging slot that the assignment needs: its copied weights; one expert if on demand."""
    if not needs_slot(block, assignment):
        return 0
    own = own_bytes(block, assignment)
    return own // max(1, block.experts) if assignment.on_demand else own


def pinned_bytes(problem: PlanningProblem, placement: Placement) -> dict[str, int]:
    """Return the bytes per CPU that must be pinned, as they are copied from there to a GPU."""
    kinds = {device.name: device.kind for device in problem.devices}
    used = {name: 0 for name, kind in kinds.items() if kind == "cpu"}
    for block, assignment in zip(problem.blocks, placement.assignments, strict=True):
        if assignment.home_device in used and kinds[assignment.exec_device] == "cuda":
            used[assignment.home_device] += own_bytes(block, assignment)
    return used


def quality_penalty(problem: PlanningProblem, placement: Placement) -> float:
    """Return the summed loss of quality, to be compared with the problem's budget."""
    pairs = zip(problem.blocks, placement.assignments, strict=True)
    return sum(problem.penalty(block, assignment.precision) for block, assignment in pairs)


def cap_bytes(problem: PlanningProblem, device: str) -> float:
    """Return the bytes that weights may take; the checkpoint already lies on a disk without a cap."""
    kind = next(d.kind for d in problem.devices if d.name == device)
    if kind == "disk" and device not in problem.caps:
        return float("inf")
    return float(problem.cap(device))


def peak_bytes(problem: PlanningProblem, placement: Placement) -> dict[str, int]:
    """Return the peak bytes on every device, a disk included (its weights, no slots)."""
    used = {device.name: 0.0 for device in problem.devices}
    slots: dict[str, list[int]] = {}
    executing = set()
    for block, assignment in zip(problem.blocks, placement.assignments, strict=True):
        for name, amount in rest_bytes(problem, block, assignment).items():
            used[name] += amount
        executing.add(assignment.exec_device)
        if needs_slot(block, assignment):
            slots.setdefault(assignment.exec_device, []).append(slot_bytes(block, assignment))
    for device in executing:
        used[device] += problem.workspace_bytes
    for device, sizes in slots.items():
        used[device] += min(problem.slots, len(sizes)) * max(sizes)
    return {name: round(value) for name, value in used.items()}
