"""What a placement costs and why it may be impossible: `evaluate`, `violations`, the words of a search that fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..cost.memory import peak_bytes, pinned_bytes, quality_penalty
from ..cost.timing import compute_seconds, copied_bytes, copy_seconds, decode_step
from ..cost.vectorised import Batch, peak_many
from ..errors import InfeasibleError, PlanError
from ..units import format_bytes
from .classes import assignment_violations
from .placement import Placement
from .problem import PlanningProblem
from .result import Prediction
from .tables import Choices, CostTables, cost_tables

__all__ = ["evaluate", "infeasible", "violations"]


def _structure_violations(problem: PlanningProblem, placement: Placement) -> list[str]:
    names = tuple(block.name for block in problem.blocks)
    if placement.blocks != names:
        return [
            f"the placement is for another model: it has {len(placement.blocks)} blocks "
            f"({placement.blocks[0]} .. {placement.blocks[-1]}), this one {len(names)} ({names[0]} .. {names[-1]})"
        ]
    pairs = zip(problem.blocks, placement.assignments, strict=True)
    return [found for block, choice in pairs for found in assignment_violations(problem, block, choice)]


def violations(problem: PlanningProblem, placement: Placement) -> list[str]:
    """Return everything that keeps `placement` from running under `problem`, memory caps included."""
    found = _structure_violations(problem, placement)
    if found:
        return found
    found = [
        f"{name} needs {format_bytes(used)} but its cap is {format_bytes(problem.cap(name))}, "
        f"{format_bytes(used - problem.cap(name))} less"
        for name, used in peak_bytes(problem, placement).items()
        if used > problem.cap(name)
    ]
    limits = {device.name: device.pinned_bytes for device in problem.devices if device.pinned_bytes}
    found += [
        f"{name} must pin {format_bytes(used)} but can pin {format_bytes(limits[name])}"
        for name, used in pinned_bytes(problem, placement).items()
        if used > limits.get(name, used)
    ]
    penalty, budget = quality_penalty(problem, placement), problem.quality_budget
    if budget is not None and penalty > budget + 1e-9 * max(1.0, budget):
        found.append(f"the loss of quality is {penalty:.3g}, the budget {budget:.3g}")
    return found


def evaluate(problem: PlanningProblem, placement: Placement) -> Prediction:
    """Return the predicted speed and memory of `placement`; PlanError names all that is impossible."""
    found = _structure_violations(problem, placement)
    if found:
        raise PlanError("The placement cannot be evaluated: " + "; ".join(found) + ".")
    locks = dict(placement.items())
    fixed = replace(problem, locks=locks)
    batch = Batch(cost_tables(fixed), np.zeros((1, len(problem.blocks)), np.int64))
    tpot = float(batch.decode_seconds[0]) / problem.workload.accepted
    between = float(batch.objective[0]) if problem.objective == "throughput" else tpot
    step = decode_step(problem)
    pairs = list(zip(problem.blocks, placement.assignments, strict=True))
    return Prediction(
        tokens_per_second=problem.workload.batch / between,
        tpot_seconds=tpot,
        ttft_seconds=float(batch.prefill_seconds[0]),
        peak_bytes=peak_bytes(problem, placement),
        bytes_per_token=sum(copied_bytes(problem, b, a, step) for b, a in pairs if b.kind != "embed"),
        block_seconds=tuple(compute_seconds(problem, b, a, step) for b, a in pairs),
        copy_seconds=tuple(0.0 if b.kind == "embed" else copy_seconds(problem, b, a, step) for b, a in pairs),
        spread=problem.spread,
    )


def infeasible(tables: CostTables, choice: Choices) -> InfeasibleError:
    """Say by how many bytes the least demanding placement is over, and what would make it fit."""
    problem = tables.problem
    peaks = peak_many(tables, choice[None])[0]
    over = [(d, float(peaks[m])) for m, d in enumerate(problem.devices) if peaks[m] > tables.caps[m]]
    parts = [
        f"{d.name} is capped at {format_bytes(problem.cap(d.name))}, the least demanding placement takes "
        f"{format_bytes(peak)} ({_missing(int(peak) - problem.cap(d.name))} more)"
        for d, peak in over
    ]
    batch = Batch(tables, choice[None])
    penalty, budget = float(batch.totals.penalty[0]), problem.quality_budget
    if budget is not None and penalty > budget:
        parts.append(f"the quality budget is {budget:.3g}, at least {penalty:.3g} are lost")
    for m, device in enumerate(problem.devices):
        if (needed := batch.totals.pinned[0, m]) > tables.pinned_caps[m]:
            limit = format_bytes(device.pinned_bytes)
            parts.append(f"{device.name} can pin {limit}, {format_bytes(int(needed))} are needed")
    return InfeasibleError(
        f"No placement of the {len(problem.blocks)} blocks fits: {'; '.join(parts)}. {_ways_out(problem)}"
    )


def _missing(nbytes: int) -> str:
    return f"{nbytes} bytes" if nbytes < 1 << 30 else format_bytes(1.005 * nbytes)  # three digits, and never too few


def _ways_out(problem: PlanningProblem) -> str:
    """Return what would make less memory do, or more."""
    load = problem.workload
    ways = ["Raise a cap", f"shorten the context ({load.context} tokens)"]
    if load.batch > 1:
        ways.append(f"take fewer sequences than {load.batch} at once")
    if "int4" not in problem.precisions:
        ways.append("allow int4")
    if not any(device.kind == "disk" for device in problem.devices):
        ways.append("allow the disk")
    return f"{', '.join(ways[:-1])}, or {ways[-1]}."
