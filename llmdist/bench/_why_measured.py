"""What changes of three blocks cost: as the plan states it, and as measured when the change is made."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from ..planner import Assignment, Placement, PlanResult
from ..planner.build import build_problem
from ..planner.pricing import evaluate
from ..session import Session
from .rows import Row

__all__ = ["why_rows"]

_CONTEXT = 256


def why_rows(
    name: str, session: Session, cap: int, seconds: Callable[[Placement], float], rounds: int
) -> list[Row]:
    """Return a row per changed block: measured ms per token more than the plan, the stated ones in the conditions.

    The plan is the colony's under `cap` bytes of memory. One attention, one MLP and the head move alone to the other
    home: to disk where they are resident, into memory where they are streamed (more than the cap allows, so the
    engine runs with all memory). Plan and changes take turns; the median of the differences inside a round counts.
    """
    plan = session.plan(context=_CONTEXT, ram=cap, seconds=1.0)
    raw = build_problem(session.profile, session.hardware, context=_CONTEXT, ram=cap)
    changes = {block: plan.what_if({block: move}) for block, move in _moves(plan).items()}
    for block, change in changes.items():
        print(f"{name}: {plan.why(block)}\n  {block} to its other home: {change.summary()}", flush=True)
    session.calibrate = False
    session.plan(context=_CONTEXT, seconds=0.2)
    before: list[float] = []
    after: dict[str, list[float]] = {block: [] for block in changes}
    for _ in range(rounds):
        before.append(seconds(plan.placement))
        for block, change in changes.items():
            after[block].append(seconds(change.placement))
    token, rows = 1e3 * statistics.median(before), []
    uncalibrated = evaluate(raw, plan.placement).tpot_seconds
    for block, change in changes.items():
        stated = 1e3 * change.tpot_change_seconds
        plain = 1e3 * (evaluate(raw, change.placement).tpot_seconds - uncalibrated)
        deltas = [1e3 * (new - old) for new, old in zip(after[block], before, strict=True)]
        where = " ".join(change.placement[block].label.split()[:1])
        facts = {"stated_ms": stated, "stated_uncalibrated_ms": plain, "deltas_ms": deltas, "token_ms": token}
        label = f"{name}, {block} to {where}, token {token:.4g} ms, stated {stated:+.3g}, uncalibrated {plain:+.3g}"
        rows.append(Row(label, "llmdist", "difference", statistics.median(deltas), "ms", None, None, facts))
    return rows


def _moves(plan: PlanResult) -> dict[str, Assignment]:
    """Return one block of each kind and its other home, resident ones first."""
    found = {}
    for kind in ("attention", "mlp", "head"):
        blocks = [block.name for block in plan.problem.blocks if block.kind == kind]
        block = sorted(blocks, key=lambda one: plan.placement[one].mode != "resident")[0]
        home = "disk" if plan.placement[block].mode == "resident" else "cpu"
        found[block] = Assignment("cpu", home, plan.placement[block].precision)
    return found
