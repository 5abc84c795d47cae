"""Lesson 5: a copy that runs behind compute costs nothing. Slots, spacing and batch size decide how much is hidden.

Everything here is the planner's cost model on a machine of the catalog: simulated, and said so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..cost.timing import compute_seconds, copy_seconds, decode_step
from ..hardware import catalog
from ..model import shapes
from ..planner import Assignment, Placement, PlanningProblem, evaluate
from ..planner.build import build_problem
from .verdict import Verdict, number, shown

__all__ = [
    "BreakEven", "attention_copy_seconds", "break_even", "check_break_even", "computing_seconds", "exposed_seconds",
    "in_words", "problem", "streaming", "way_seconds",
]  # fmt: skip

GPU, HOST = "cuda:0", "cpu"


def problem(shape: str = "llama-2-13b", machine: str = "rtx4090", slots: int = 2, batch: int = 1) -> PlanningProblem:
    """Return the problem of running `shape` on a machine of the catalog with `slots` staging slots (simulated)."""
    made = build_problem(shapes.shape(shape), catalog.machine(machine), context=1024)
    return replace(made, slots=slots, workload=replace(made.workload, batch=batch))


def streaming(made: PlanningProblem, every: int, together: bool = False) -> Placement:
    """Return a placement on the GPU in which one attention of `every` is streamed from host memory.

    `together` puts the same number of streamed blocks side by side at the end instead of spreading them.
    """
    names = [block.name for block in made.blocks if block.kind == "attention"]
    count = len(names) // every
    streamed = set(names[-count:] if together and count else names[every - 1 :: every])
    precision = made.precisions[0]
    return Placement(
        tuple(block.name for block in made.blocks),
        tuple(Assignment(GPU, HOST if block.name in streamed else GPU, precision) for block in made.blocks),
    )


def exposed_seconds(made: PlanningProblem, placement: Placement) -> float:
    """Return the seconds per token that are neither hidden nor compute: TPOT minus the sum of all computes."""
    prediction = evaluate(made, placement)
    rest = prediction.tpot_seconds - sum(prediction.block_seconds)
    return rest if rest > 1e-9 else 0.0  # what is less is the rounding of sums


def in_words(made: PlanningProblem, placement: Placement) -> str:
    """Return what a token takes, and how much of it is neither hidden nor compute."""
    tpot = evaluate(made, placement).tpot_seconds
    return f"{1e3 * tpot:6.2f} ms per token, {1e3 * exposed_seconds(made, placement):6.2f} ms of it waiting for copies"


def computing_seconds(made: PlanningProblem) -> float:
    """Return the seconds in which the GPU computes all blocks of one token."""
    return sum(evaluate(made, streaming(made, len(made.blocks))).block_seconds)


def attention_copy_seconds(made: PlanningProblem) -> float:
    """Return the seconds in which one attention block is copied to the GPU."""
    block = next(block for block in made.blocks if block.kind == "attention")
    return copy_seconds(made, block, Assignment(GPU, HOST, made.precisions[0]), decode_step(made))


def way_seconds(made: PlanningProblem, batch: int) -> dict[str, float]:
    """Return seconds per pass of one MLP that does not fit: streamed to the GPU, or computed where it lies."""
    sized = replace(made, workload=replace(made.workload, batch=batch))
    block = next(block for block in sized.blocks if block.kind == "mlp")
    precision, step = sized.precisions[0], decode_step(sized)
    streamed = Assignment(GPU, HOST, precision)
    gpu = compute_seconds(sized, block, streamed, step)
    return {
        "streamed": max(copy_seconds(sized, block, streamed, step), gpu),
        "on the CPU": compute_seconds(sized, block, Assignment(HOST, HOST, precision), step),
    }


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The smallest batch for which streaming is at least as fast as the CPU; None where it never is up to `limit`."""

    batch: int | None
    limit: int


def break_even(made: PlanningProblem, limit: int = 512) -> BreakEven:
    """Return where streaming starts to pay for one MLP of `made`."""
    for batch in range(1, limit + 1):
        seconds = way_seconds(made, batch)
        if seconds["streamed"] <= seconds["on the CPU"]:
            return BreakEven(batch, limit)
    return BreakEven(None, limit)


def check_break_even(answer: Any, made: PlanningProblem) -> Verdict:
    """Check the break-even batch within 1."""
    truth = break_even(made).batch
    assert truth is not None, "the lesson's problem has a break-even"
    batch = number(answer)
    if batch is None or batch < 1:
        return Verdict(False, f"{shown(answer)} is no batch size: give a whole number from 1.")
    if abs(batch - truth) <= 1:
        return Verdict(True, "from there on, one copy serves so many tokens that the bus is the cheaper way.")
    way = "the CPU is still faster" if batch < truth else "streaming paid earlier than that"
    return Verdict(False, f"at batch {answer} look again: {way}.")
