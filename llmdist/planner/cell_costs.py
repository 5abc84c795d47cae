"""What each option of each class of blocks costs: seconds per kind of pass, and the columns that add up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..cost.additive import Additive
from ..cost.memory import needs_slot, own_bytes, rest_bytes, slot_bytes
from ..cost.timing import (
    Step,
    bus_bytes,
    compute_seconds,
    copied_bytes,
    copy_seconds,
    demand_seconds,
    host_seconds,
    transfer_table,
)
from ..model.blocks import Block
from .classes import BlockClasses
from .placement import Assignment
from .problem import PlanningProblem

__all__ = ["Floats", "PassTables", "additive", "of_cells", "pass_tables", "resources"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PassTables:
    """Seconds of one kind of pass: [row, option], [exec, exec] transfers, [class, option, resource].

    Rows are blocks, or classes while the tables are being built.
    """

    compute: Floats  # waits for what is copied on demand included
    copy: Floats  # prefetched, on the lane
    disk: Floats  # reading from the disk that is its home
    transfer: Floats
    busy: Floats


def resources(problem: PlanningProblem) -> tuple[str, ...]:
    """Return the names of what blocks share: lanes, disks, memory buses, and stages last."""
    executors = [device.name for device in problem.devices if device.executes]
    return (
        *(f"lane {name}" for name in executors),
        *(f"disk {device.name}" for device in problem.devices if device.kind == "disk"),
        *(f"bus {device.name}" for device in problem.devices if device.kind == "cpu" and device.bus_bandwidth),
        *(f"stage {name}" for name in executors),
    )


def _busy(problem: PlanningProblem, block: Block, option: Assignment, step: Step) -> dict[str, float]:
    """Return the seconds that one block keeps each resource busy, activation transfers aside."""
    host = problem.host(option.exec_device)
    own = compute_seconds(problem, block, option, step) + demand_seconds(problem, block, option, step)
    busy = {f"stage {option.exec_device}": own}
    if host is not None and option.cpu_eighths:
        busy[f"stage {host.name}"] = host_seconds(problem, block, option, step)
    if host is not None and host.bus_bandwidth:
        busy[f"bus {host.name}"] = bus_bytes(problem, block, option, step)[1] / host.bus_bandwidth
    if needs_slot(block, option):
        busy[f"lane {option.exec_device}"] = copy_seconds(problem, block, option, step)
    busy[f"disk {option.home_device}"] = _disk(problem, block, option, step)
    return busy


def of_cells(classes: BlockClasses, value: Callable[[Block, Assignment], float]) -> Floats:
    """Return `value` of every class and option as an array [class, option]."""
    return np.array([[value(block, option) for block, option in row] for row in classes.cells()], dtype=np.float64)


def pass_tables(classes: BlockClasses, step: Step) -> PassTables:
    """Return the costs of one kind of pass per class and option."""
    problem = classes.problem
    executors = [device.name for device in problem.devices if device.executes]
    paths = transfer_table(problem, step)
    transfer = np.array([[paths[s, t] for t in executors] for s in executors])
    names = resources(problem)
    busy = [[_busy(problem, block, option, step) for block, option in row] for row in classes.cells()]
    return PassTables(
        of_cells(classes, lambda b, o: compute_seconds(problem, b, o, step) + demand_seconds(problem, b, o, step)),
        of_cells(classes, lambda b, o: _prefetch(problem, b, o, step)),
        of_cells(classes, lambda b, o: _disk(problem, b, o, step)),
        np.where(np.isinf(transfer), 0.0, transfer),
        np.array([[[cell.get(name, 0.0) for name in names] for cell in row] for row in busy]),
    )


def _prefetch(problem: PlanningProblem, block: Block, option: Assignment, step: Step) -> float:
    """Return the seconds on the lane of a copy that can be started ahead."""
    prefetched = needs_slot(block, option) and not option.on_demand
    return copy_seconds(problem, block, option, step) if prefetched else 0.0


def _disk(problem: PlanningProblem, block: Block, option: Assignment, step: Step) -> float:
    """Return the seconds that the disk is read, where the weights rest on one."""
    link = problem.link(option.home_device, option.exec_device)
    on_disk = any(d.name == option.home_device and d.kind == "disk" for d in problem.devices)
    return copied_bytes(problem, block, option, step) / link.bandwidth if link is not None and on_disk else 0.0


def additive(classes: BlockClasses, decode: PassTables, prefill: PassTables) -> Additive:
    """Return the matrix of everything that adds up over blocks."""
    problem = classes.problem
    kinds = {device.name: device.kind for device in problem.devices}
    executors = [device.name for device in problem.devices if device.executes]
    numbers = {name: m for m, name in enumerate(kinds)}
    cells = [cell for row in classes.cells() for cell in row]
    memory, pinned = np.zeros((len(cells), len(kinds))), np.zeros((len(cells), len(kinds)))
    executing, slot = np.zeros((len(cells), len(executors))), np.zeros((len(cells), len(executors)))
    for i, (block, option) in enumerate(cells):
        for name, size in rest_bytes(problem, block, option).items():
            memory[i, numbers[name]] = size
        if kinds[option.home_device] == "cpu" and kinds[option.exec_device] == "cuda":
            pinned[i, numbers[option.home_device]] = own_bytes(block, option)
        executing[i, executors.index(option.exec_device)] = 1.0
        slot[i, executors.index(option.exec_device)] = slot_bytes(block, option)
    staged = of_cells(classes, needs_slot).reshape(-1, 1)
    penalty = of_cells(classes, lambda b, o: problem.penalty(b, o.precision))
    parts = [memory, pinned, penalty, executing, executing * staged, decode.compute, prefill.compute,
             decode.busy, prefill.busy]  # fmt: skip
    columns = [part.reshape(len(cells), -1) for part in parts]
    return Additive(
        classes.of_block * classes.width,
        np.concatenate(columns, axis=1),
        tuple(part.shape[1] for part in columns),
        np.ascontiguousarray(slot.T),
    )
