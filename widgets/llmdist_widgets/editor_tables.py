"""The cost tables as plain JSON values, so that the browser predicts under the finger.

Blocks with equal rows share one: a model of 80 equal layers sends four rows. Infinity becomes None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from llmdist.cost.timing import (
    copied_bytes,
    copy_seconds,
    decode_step,
    host_seconds,
    own_seconds,
    reading_alone,
    used_seconds,
)
from llmdist.model.blocks import Block
from llmdist.planner.placement import Assignment
from llmdist.planner.problem import PlanningProblem
from llmdist.planner.tables import CostTables

__all__ = ["packed_tables", "variant_of"]


def variant_of(option: Assignment) -> str:
    """Return the mode, with the share where a block is split: ``split:3``."""
    return f"split:{option.cpu_eighths}" if option.cpu_eighths else option.mode


def _finite(values: Any) -> Any:
    """Return nested lists of numbers with None for what JSON cannot say."""
    if isinstance(values, list):
        return [_finite(value) for value in values]
    return values if not isinstance(values, float) or math.isfinite(values) else None


def _pass(tables: CostTables, name: str, block: int, count: int) -> dict[str, Any]:
    costs = getattr(tables, name)
    return {
        "compute": _finite(costs.compute[block, :count].tolist()),
        "copy": _finite(costs.copy[block, :count].tolist()),
        "busy": _finite(costs.busy[tables.classes[block], :count].tolist()),
    }


def _sums(tables: CostTables, block: int, count: int) -> dict[str, Any]:
    """Return what adds up over blocks: bytes per device, bytes to pin per device, loss of quality."""
    additive = tables.additive
    rows = additive.matrix[additive.codes[block] : additive.codes[block] + count]
    memory, pinned, penalty, *_ = np.split(rows, np.cumsum(additive.widths)[:-1], axis=1)
    return {"memory": memory.tolist(), "pinned": pinned.tolist(), "penalty": penalty[:, 0].tolist()}


def _used(problem: PlanningProblem, block: Block, options: Sequence[Assignment]) -> list[list[float]]:
    """Return what one pass of the block takes of its exec device, of the CPU that shares it, and of a link, per option.

    Then what reading alone takes of the two. `planner.bottleneck` counts so: the join is the exec device's.
    """
    free, step, rows = reading_alone(problem), decode_step(problem), []
    for option in options:
        copy = 0.0 if block.kind == "embed" else copy_seconds(problem, block, option, step)
        reading = [own_seconds(free, block, option, step), host_seconds(free, block, option, step)]
        rows.append([*used_seconds(problem, block, option, step), copy, *reading])
    return rows


def _row(tables: CostTables, index: int) -> dict[str, Any]:
    """Return everything that a block's options cost."""
    problem, block, options = tables.problem, tables.problem.blocks[index], tables.options[index]
    count, step = len(options), decode_step(tables.problem)
    row: dict[str, Any] = {
        name: getattr(tables, name)[index, :count].tolist()
        for name in ("execute", "home", "streamed", "staged", "slot")
    }
    copied = [0 if block.kind == "embed" else copied_bytes(problem, block, option, step) for option in options]
    return row | _sums(tables, index, count) | {
        "precision": [option.precision for option in options],
        "mode": [option.mode for option in options],
        "variant": [variant_of(option) for option in options],
        "eighths": [option.cpu_eighths for option in options],
        "label": [option.label for option in options],
        "copied": copied,
        "used": _finite(_used(problem, block, options)),
        "decode": _pass(tables, "decode", index, count),
        "prefill": _pass(tables, "prefill", index, count),
    }  # fmt: skip


def _hosts(problem: PlanningProblem) -> list[int | None]:
    """Return per device the index of the CPU that shares split blocks with it."""
    names = [device.name for device in problem.devices]
    found = [problem.host(device.name) if device.executes else None for device in problem.devices]
    return [None if host is None else names.index(host.name) for host in found]


def packed_tables(tables: CostTables, bound_seconds: float) -> dict[str, Any]:
    """Return the tables, devices and the bound; `rows[row_of[b]]` are the options of block b."""
    problem, workload = tables.problem, tables.problem.workload
    first = np.unique(tables.classes, return_index=True)[1]  # the first block of every class
    return {
        "blocks": [block.name for block in problem.blocks],
        "devices": [{"name": d.name, "kind": d.kind, "executes": d.executes} for d in problem.devices],
        "caps": _finite(tables.caps.tolist()),
        "pinnedCaps": _finite(tables.pinned_caps.tolist()),
        "executors": tables.executors.tolist(),
        "hosts": _hosts(problem),
        "resources": list(tables.resources),
        "forbidden": tables.forbidden.tolist(),
        "transfer": {"decode": tables.decode.transfer.tolist(), "prefill": tables.prefill.transfer.tolist()},
        "rows": [_row(tables, int(index)) for index in first],
        "row_of": tables.classes.tolist(),
        "width": tables.shape[1],
        "overhead": [device.overhead_seconds for device in problem.devices],
        "pass": problem.pass_seconds,
        "slots": problem.slots,
        "workspace": problem.workspace_bytes,
        "objective": problem.objective,
        "budget": problem.quality_budget,
        "batch": workload.batch,
        "newTokens": workload.new_tokens,
        "accepted": workload.accepted,
        "inFlight": workload.in_flight,
        "bound": bound_seconds,
    }
