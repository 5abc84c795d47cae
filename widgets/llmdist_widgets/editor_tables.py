"""The cost tables as plain JSON values, so that the browser predicts under the finger.

Blocks with equal rows share one: a model of 80 equal layers sends four rows. Infinity becomes None.
"""

from __future__ import annotations

import math
from typing import Any

from llmdist.cost.timing import copied_bytes, decode_step
from llmdist.planner.tables import CostTables, PassTables

__all__ = ["packed_tables"]


def _finite(values: Any) -> Any:
    """Return nested lists of numbers with None for what JSON cannot say."""
    if isinstance(values, list):
        return [_finite(value) for value in values]
    return values if not isinstance(values, float) or math.isfinite(values) else None


def _pass(tables: PassTables, block: int, count: int) -> dict[str, Any]:
    names = ("compute", "copy", "disk")
    return {name: _finite(getattr(tables, name)[block, :count].tolist()) for name in names}


def _row(tables: CostTables, index: int) -> dict[str, Any]:
    """Return everything that a block's options cost."""
    problem, block, options = tables.problem, tables.problem.blocks[index], tables.options[index]
    count, step = len(options), decode_step(tables.problem)
    row: dict[str, Any] = {
        name: getattr(tables, name)[index, :count].tolist()
        for name in ("execute", "home", "streamed", "slot", "weight")
    }
    copied = [0 if block.kind == "embed" else copied_bytes(problem, block, option, step) for option in options]
    return row | {
        "kind": block.kind,
        "precision": [option.precision for option in options],
        "mode": [option.mode for option in options],
        "label": [option.label for option in options],
        "copied": copied,
        "kv": float(tables.kv[index]),
        "decode": _pass(tables.decode, index, count),
        "prefill": _pass(tables.prefill, index, count),
    }


def packed_tables(tables: CostTables, bound_seconds: float) -> dict[str, Any]:
    """Return the tables, devices and the bound; `rows[row_of[b]]` are the options of block b."""
    problem = tables.problem
    rows: list[dict[str, Any]] = []
    row_of = []
    for index in range(len(problem.blocks)):
        row = _row(tables, index)
        if row not in rows:
            rows.append(row)
        row_of.append(rows.index(row))
    return {
        "blocks": [block.name for block in problem.blocks],
        "devices": [{"name": d.name, "kind": d.kind, "executes": d.executes} for d in problem.devices],
        "caps": _finite(tables.caps.tolist()),
        "executors": tables.executors.tolist(),
        "disks": tables.disks.tolist(),
        "forbidden": tables.forbidden.tolist(),
        "transfer": {"decode": tables.decode.transfer.tolist(), "prefill": tables.prefill.transfer.tolist()},
        "rows": rows,
        "row_of": row_of,
        "width": tables.shape[1],
        "slots": problem.slots,
        "workspace": problem.workspace_bytes,
        "objective": problem.objective,
        "batch": problem.workload.batch,
        "newTokens": problem.workload.new_tokens,
        "bound": bound_seconds,
    }
