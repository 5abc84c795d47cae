"""Every cost of every option as numpy arrays, computed once per problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..cost.memory import cap_bytes, kv_bytes, slot_bytes
from ..cost.timing import (
    Step,
    compute_seconds,
    copied_bytes,
    copy_seconds,
    decode_step,
    demand_seconds,
    prefill_step,
    transfer_seconds,
)
from ..errors import PlanError
from ..model.blocks import BYTES_PER_PARAMETER, Block
from .placement import Assignment, Placement
from .problem import PlanningProblem

__all__ = ["Choices", "CostTables", "Floats", "PassTables", "assignment_violations", "cost_tables"]

Floats = NDArray[np.float64]
Choices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PassTables:
    """Seconds of one kind of pass: [block, option] arrays, and [exec, exec] activation transfers."""

    compute: Floats
    copy: Floats
    disk: Floats
    transfer: Floats


@dataclass(frozen=True, slots=True)
class CostTables:
    """Arrays over [block, option]; rows are padded with copies of option 0 where `valid` is False."""

    problem: PlanningProblem
    options: tuple[tuple[Assignment, ...], ...]
    valid: NDArray[np.bool_]
    execute: NDArray[np.int64]  # index into `executors`
    home: NDArray[np.int64]  # index into problem.devices
    streamed: NDArray[np.bool_]  # through the lane and a slot
    slot: Floats
    weight: Floats
    kv: Floats  # per block
    executors: NDArray[np.int64]  # exec device -> index into problem.devices
    disks: NDArray[np.int64]  # indices into problem.devices
    caps: Floats
    forbidden: NDArray[np.bool_]  # [exec, exec]: no path for activations
    decode: PassTables
    prefill: PassTables

    @property
    def shape(self) -> tuple[int, int]:
        """Return (blocks, widest number of options)."""
        return self.valid.shape[0], self.valid.shape[1]

    def placement(self, choice: Choices) -> Placement:
        """Return the placement that one row of option indices stands for."""
        names = tuple(block.name for block in self.problem.blocks)
        return Placement(names, tuple(self.options[b][int(k)] for b, k in enumerate(choice)))


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
    if not found and assignment.mode == "streamed" and not linked:
        found.append(f"{block.name}: no link {assignment.home_device}>{assignment.exec_device}")
    return found


def _pass_tables(
    problem: PlanningProblem,
    rows: list[list[Assignment]],
    names: list[str],
    step: Step,
    forbidden: NDArray[np.bool_],
) -> PassTables:
    shape = (len(rows), len(rows[0]))
    compute, copy, disk = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    disks = {device.name for device in problem.devices if device.kind == "disk"}
    for b, block in enumerate(problem.blocks):
        for k, option in enumerate(rows[b]):
            compute[b, k] = compute_seconds(problem, block, option, step)
            compute[b, k] += demand_seconds(problem, block, option, step)
            if block.kind != "embed":
                copy[b, k] = copy_seconds(problem, block, option, step)
            link = problem.link(option.home_device, option.exec_device)
            if option.home_device in disks and link is not None:
                disk[b, k] = copied_bytes(problem, block, option, step) / link.bandwidth
    transfer = np.array([[transfer_seconds(problem, s, t, step) for t in names] for s in names])
    return PassTables(compute, copy, disk, np.where(forbidden, 0.0, transfer))


def cost_tables(problem: PlanningProblem) -> CostTables:
    """Return the cost tables; PlanError lists every option (a lock) that this machine cannot do."""
    options = tuple(problem.options(block) for block in problem.blocks)
    found = [
        violation
        for block, choices in zip(problem.blocks, options, strict=True)
        for option in choices
        for violation in assignment_violations(problem, block, option)
    ]
    if found:
        raise PlanError(f"The locks cannot be kept: {'; '.join(dict.fromkeys(found))}.")
    width = max(len(choices) for choices in options)
    rows = [list(choices) + [choices[0]] * (width - len(choices)) for choices in options]
    names = [device.name for device in problem.devices]
    executors = [d.name for d in problem.devices if d.executes]
    step = decode_step(problem)
    paths = [[transfer_seconds(problem, s, t, step) for t in executors] for s in executors]
    forbidden = np.isinf(np.array(paths))
    blocks = problem.blocks
    streams = [[o.mode == "streamed" and b.kind != "embed" for o in row] for b, row in zip(blocks, rows, strict=True)]
    return CostTables(
        problem,
        options,
        np.array([[k < len(choices) for k in range(width)] for choices in options]),
        np.array([[executors.index(o.exec_device) for o in row] for row in rows]),
        np.array([[names.index(o.home_device) for o in row] for row in rows]),
        np.array(streams),
        np.array([[float(slot_bytes(b, o)) for o in row] for b, row in zip(blocks, rows, strict=True)]),
        np.array([[float(b.weight_bytes(o.precision)) for o in row] for b, row in zip(blocks, rows, strict=True)]),
        np.array([kv_bytes(problem, block) for block in blocks]),
        np.array([names.index(name) for name in executors]),
        np.array([i for i, d in enumerate(problem.devices) if d.kind == "disk"], dtype=np.int64),
        np.array([cap_bytes(problem, name) for name in names]),
        forbidden,
        _pass_tables(problem, rows, executors, step, forbidden),
        _pass_tables(problem, rows, executors, prefill_step(problem), forbidden),
    )
