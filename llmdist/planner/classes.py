"""Classes of equal blocks: blocks of the same sizes with the same options cost the same and are computed once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..model.blocks import BYTES_PER_PARAMETER, Block
from .placement import Assignment
from .problem import PlanningProblem

__all__ = ["BlockClasses", "assignment_violations"]


def assignment_violations(problem: PlanningProblem, block: Block, assignment: Assignment) -> list[str]:
    """Return what makes `assignment` impossible on this machine, caps aside."""
    devices = {device.name: device for device in problem.devices}
    found = [
        f"{block.name}: unknown device {name} (devices: {', '.join(devices)})"
        for name in dict.fromkeys((assignment.exec_device, assignment.home_device))
        if name not in devices
    ]
    if assignment.precision not in BYTES_PER_PARAMETER:
        found.append(f"{block.name}: unknown precision {assignment.precision}")
    if assignment.exec_device in devices and not devices[assignment.exec_device].executes:
        found.append(f"{block.name}: {assignment.exec_device} cannot execute")
    linked = problem.link(assignment.home_device, assignment.exec_device) is not None
    if not found and assignment.copies and not linked:
        found.append(f"{block.name}: no link {assignment.home_device}>{assignment.exec_device}")
    if not found and assignment.mode not in problem.modes:
        found.append(f"{block.name}: mode {assignment.mode} is not offered here ({', '.join(problem.modes)})")
    if not found and assignment.cpu_eighths and (block.kind != "mlp" or not problem.joins(assignment.exec_device)):
        found.append(f"{block.name}: only an MLP on a GPU that is linked with its CPU can be split")
    if not found and assignment.on_demand and (block.kind != "experts" or not assignment.copies):
        found.append(f"{block.name}: only experts that rest elsewhere are copied on demand")
    return found


class BlockClasses:
    """The classes of equal blocks with their padded rows of options; makes [class, option] arrays."""

    def __init__(self, problem: PlanningProblem) -> None:
        self.problem = problem
        by_kind: dict[str, tuple[Assignment, ...]] = {}
        known: dict[object, int] = {}
        self.blocks: list[Block] = []
        self.options: list[tuple[Assignment, ...]] = []
        classes = []
        for block in problem.blocks:
            if block.name in problem.locks:
                choices = problem.options(block)
            else:
                if block.kind not in by_kind:
                    by_kind[block.kind] = problem.options(block)
                choices = by_kind[block.kind]
            key = (replace(block, name=""), choices, str(problem.block_penalties.get(block.name)))
            if key not in known:
                known[key] = len(self.blocks)
                self.blocks.append(block)
                self.options.append(choices)
            classes.append(known[key])
        self.of_block = np.array(classes)
        self.width = max(len(choices) for choices in self.options)

    def cells(self) -> list[list[tuple[Block, Assignment]]]:
        """Return (block, option) for every class and option, padded with option 0."""
        rows = zip(self.blocks, self.options, strict=True)
        return [[(b, o) for o in (*row, *[row[0]] * (self.width - len(row)))] for b, row in rows]

    def violations(self) -> list[str]:
        """Return what is impossible about the options (only locks can be)."""
        pairs = zip(self.blocks, self.options, strict=True)
        check = assignment_violations
        return [found for block, row in pairs for option in row for found in check(self.problem, block, option)]
