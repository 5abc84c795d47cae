"""Every cost of every option as numpy arrays, computed once per problem and class of equal blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..cost.additive import Additive
from ..cost.memory import cap_bytes, kv_bytes, needs_slot, own_bytes, slot_bytes
from ..cost.timing import decode_step, prefill_step, transfer_table
from ..errors import PlanError
from .cell_costs import Floats, PassTables, additive, of_cells, pass_tables, resources
from .classes import BlockClasses, assignment_violations
from .placement import Assignment, Placement
from .problem import PlanningProblem

__all__ = ["Choices", "CostTables", "Floats", "PassTables", "assignment_violations", "cost_tables"]

Choices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CostTables:
    """Arrays over [block, option]; rows are padded with copies of option 0 where `valid` is False."""

    problem: PlanningProblem
    options: tuple[tuple[Assignment, ...], ...]
    valid: NDArray[np.bool_]
    classes: NDArray[np.int64]  # per block: equal blocks with equal options share a class
    execute: NDArray[np.int64]  # index into `executors`
    home: NDArray[np.int64]  # index into problem.devices
    streamed: NDArray[np.bool_]  # through the lane and a slot
    staged: NDArray[np.bool_]  # through a slot, also on demand
    slot: Floats
    weight: Floats  # at home
    kv: Floats  # per block
    executors: NDArray[np.int64]  # exec device -> index into problem.devices
    disks: NDArray[np.int64]  # indices into problem.devices
    caps: Floats
    pinned_caps: Floats  # per device
    forbidden: NDArray[np.bool_]  # [exec, exec]: no path for activations
    resources: tuple[str, ...]  # lane, disk, bus, stage; the last len(executors) are stages
    decode: PassTables
    prefill: PassTables
    additive: Additive

    @property
    def shape(self) -> tuple[int, int]:
        """Return (blocks, widest number of options)."""
        return self.valid.shape[0], self.valid.shape[1]

    def placement(self, choice: Choices) -> Placement:
        """Return the placement that one row of option indices stands for."""
        names = tuple(block.name for block in self.problem.blocks)
        return Placement(names, tuple(self.options[b][int(k)] for b, k in enumerate(choice)))


def cost_tables(problem: PlanningProblem) -> CostTables:
    """Return the cost tables; PlanError lists every option (a lock) that this machine cannot do."""
    classes = BlockClasses(problem)
    if found := classes.violations():
        raise PlanError(f"The locks cannot be kept: {'; '.join(dict.fromkeys(found))}.")
    names = [device.name for device in problem.devices]
    executors = [d.name for d in problem.devices if d.executes]
    of = classes.of_block
    paths = transfer_table(problem, decode_step(problem))
    decode, prefill = (pass_tables(classes, step) for step in (decode_step(problem), prefill_step(problem)))
    widths = np.array([len(row) for row in classes.options])
    pinned = [float(d.pinned_bytes) if d.pinned_bytes else np.inf for d in problem.devices]
    return CostTables(
        problem=problem,
        options=tuple(classes.options[c] for c in of),
        valid=np.arange(classes.width) < widths[of][:, None],
        classes=of,
        execute=of_cells(classes, lambda b, o: executors.index(o.exec_device)).astype(np.int64)[of],
        home=of_cells(classes, lambda b, o: names.index(o.home_device)).astype(np.int64)[of],
        streamed=of_cells(classes, lambda b, o: needs_slot(b, o) and not o.on_demand).astype(np.bool_)[of],
        staged=of_cells(classes, needs_slot).astype(np.bool_)[of],
        slot=of_cells(classes, slot_bytes)[of],
        weight=of_cells(classes, own_bytes)[of],
        kv=np.array([kv_bytes(problem, block) for block in problem.blocks]),
        executors=np.array([names.index(name) for name in executors]),
        disks=np.array([i for i, d in enumerate(problem.devices) if d.kind == "disk"], dtype=np.int64),
        caps=np.array([cap_bytes(problem, name) for name in names]),
        pinned_caps=np.array(pinned),
        forbidden=np.array([[np.isinf(paths[s, t]) for t in executors] for s in executors]),
        resources=resources(problem),
        decode=_per_block(decode, of),
        prefill=_per_block(prefill, of),
        additive=additive(classes, decode, prefill),
    )


def _per_block(costs: PassTables, of: NDArray[np.int64]) -> PassTables:
    return PassTables(costs.compute[of], costs.copy[of], costs.disk[of], costs.transfer, costs.busy)
