"""What changes of three blocks cost: as the plan states it, and as measured when the change is made."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from ..planner import Placement
from ..planner.build import build_problem
from ..planner.solve import evaluate
from ..planner.why import best_change
from ..session import Session
from .rows import Row

__all__ = ["why_rows"]

_CONTEXT = 256


def why_rows(
    name: str, session: Session, cap: int, seconds: Callable[[Placement], float], rounds: int
) -> list[Row]:
    """Return a row per changed block: measured ms per token more than the plan, the stated ones in the conditions.

    The plan is the colony's under `cap` bytes of memory. Of each kind of block the one whose
    best fitting change costs most is changed; plan and changes take turns, and the median over rounds of the
    difference inside a round counts.
    """
    plan = session.plan(context=_CONTEXT, ram=cap, seconds=1.0)
    session.calibrate = False
    raw = build_problem(session.profile, session.hardware, context=_CONTEXT, ram=cap)
    changed = {}
    for kind in ("attention", "mlp", "head"):
        names = [block.name for block in plan.problem.blocks if block.kind == kind]
        changes = {block: change for block in names if (change := best_change(plan, block)) is not None}
        if changes:
            block = max(changes, key=lambda one: changes[one].seconds)
            changed[block] = plan.placement.moved(changes[block].moves)
            print(f"{name}: {plan.why(block)}", flush=True)
    before: list[float] = []
    after: dict[str, list[float]] = {block: [] for block in changed}
    for _ in range(rounds):
        before.append(seconds(plan.placement))
        for block, placement in changed.items():
            after[block].append(seconds(placement))
    rows = []
    for block, placement in changed.items():
        stated = evaluate(plan.problem, placement).tpot_seconds - plan.prediction.tpot_seconds
        plain = evaluate(raw, placement).tpot_seconds - evaluate(raw, plan.placement).tpot_seconds
        deltas = [new - old for new, old in zip(after[block], before, strict=True)]
        facts = {
            "stated_ms": 1e3 * stated, "stated_uncalibrated_ms": 1e3 * plain,
            "deltas_ms": [1e3 * delta for delta in deltas], "token_ms": 1e3 * statistics.median(before),
        }  # fmt: skip
        label = (
            f"{name}, {block} changed (token {facts['token_ms']:.4g} ms), stated {1e3 * stated:+.3g} ms, "
            f"uncalibrated {1e3 * plain:+.3g} ms"
        )
        rows.append(Row(label, "llmdist", "difference", 1e3 * statistics.median(deltas), "ms", None, None, facts))
    return rows
