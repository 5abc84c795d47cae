"""Lesson 6: what int8 and int4 cost the demo model block by block, and which blocks deserve their bytes.

Everything is measured by the `Judge` with the engine's own packed weights.
"""

from __future__ import annotations

from typing import Any

from ..errors import PlanError
from .bits_judge import PRECISIONS, Judge, judge
from .verdict import Verdict, shown

__all__ = ["TOLERANCE", "check_choice", "greedy", "judge", "sensitivity"]

TOLERANCE = 0.001  # nats per 1000 tokens that an answer may be behind


def sensitivity(made: Judge, precision: str = "int4") -> dict[str, float]:
    """Return, for each block, the divergence (nats per 1000 tokens) when only this block is `precision`."""
    return {name: made.score({name: precision}).divergence for name in made.blocks}


def greedy(made: Judge, budget: int) -> dict[str, str]:
    """Start with int4 everywhere; buy, while bytes are left, the step that takes most divergence away per byte."""
    alone = {precision: sensitivity(made, precision) for precision in PRECISIONS}
    chosen = made.everything("int4")
    while True:
        room = budget - made.nbytes(chosen)
        steps = []
        for name, now in chosen.items():
            for wider in PRECISIONS[PRECISIONS.index(now) + 1 :]:
                cost = made.block_bytes(name, wider) - made.block_bytes(name, now)
                if cost <= room:
                    steps.append(((alone[now][name] - alone[wider][name]) / cost, name, wider))
        if not steps:
            return chosen
        _, name, wider = max(steps)
        chosen[name] = wider


def check_choice(choice: Any, made: Judge, budget: int) -> Verdict:
    """Check that `choice` fits in `budget` bytes and is not behind `greedy` by more than `TOLERANCE`."""
    try:
        over = made.nbytes(choice) - budget
    except PlanError as error:
        return Verdict(False, str(error))
    except (AttributeError, TypeError):
        return Verdict(False, f"{shown(choice)} is no choice: give a dict from block to precision.")
    if over > 0:
        return Verdict(False, f"{over} bytes over the budget of {budget}.")
    left = f"it fits, with {-over} bytes to spare"
    behind = made.score(choice).divergence - made.score(greedy(made, budget)).divergence
    if behind > TOLERANCE:
        words = f"{left}, but is {behind:.4f} nats per 1000 tokens behind what sensitivity per byte reaches"
        return Verdict(False, f"{words} (tolerance {TOLERANCE:g}).")
    return Verdict(True, "the bytes went where they count, and nowhere else.")
