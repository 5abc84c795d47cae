"""Peak bytes per device of one placement: weights, KV cache, staging slots and workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.blocks import BYTES_PER_PARAMETER, Block

if TYPE_CHECKING:
    from ..planner.placement import Assignment, Placement
    from ..planner.problem import PlanningProblem

__all__ = ["cap_bytes", "kv_bytes", "peak_bytes", "slot_bytes"]


def kv_bytes(problem: PlanningProblem, block: Block) -> float:
    """Return the bytes of KV cache that `block` keeps on its exec device for the whole context."""
    workload = problem.workload
    element = BYTES_PER_PARAMETER[workload.kv_precision]
    return block.kv_elements_per_token * element * workload.context * workload.batch


def slot_bytes(block: Block, assignment: Assignment) -> int:
    """Return the staging slot that the assignment needs: none if resident or an embedding (rows only)."""
    if assignment.mode == "resident" or block.kind == "embed":
        return 0
    return block.weight_bytes(assignment.precision)


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
        used[assignment.home_device] += block.weight_bytes(assignment.precision)
        used[assignment.exec_device] += kv_bytes(problem, block)
        executing.add(assignment.exec_device)
        if assignment.mode == "streamed" and block.kind != "embed":
            slots.setdefault(assignment.exec_device, []).append(slot_bytes(block, assignment))
    for device in executing:
        used[device] += problem.workspace_bytes
    for device, sizes in slots.items():
        used[device] += min(problem.slots, len(sizes)) * max(sizes)
    return {name: round(value) for name, value in used.items()}
