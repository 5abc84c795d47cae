"""``python -m llmdist.bench virtual``: plans of an RTX 4090 on streams, in virtual time and against vector clocks.

No device is needed and nothing is measured: the catalog's rates price every operation. What the table checks is the
schedule, which must have no race, need every wait, move the bytes that the plan says and take at most 5 % more than
the bound on any plan. Lanes that share a memory bus do not slow each other here, so a program may undercut its bound.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..cost.timing import copied_bytes, decode_step
from ..executor.schedule import build_schedule
from ..executor.stream_program import build_program
from ..executor.virtual import planned_seconds, races, run_virtual, seconds_per_token
from ..hardware.catalog import machine
from ..model.shapes import shape
from ..planner.build import build_problem
from ..planner.solve import solve
from ..planner.stop import MaxSeconds, StopRule

__all__ = ["SCENARIOS", "Scenario", "Virtual", "main", "run"]

TOKENS = 8
STREAMED = ("resident", "streamed")
HYBRID = (*STREAMED, "split")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A model of the catalog on an RTX 4090 with `vram`; `modes` are those that the planner may choose."""

    model: str
    vram: str
    precision: str
    modes: tuple[str, ...]


SCENARIOS = {
    "13b bf16, 24 GiB, streamed": Scenario("llama-2-13b", "24GiB", "bf16", STREAMED),
    "13b bf16, 24 GiB, hybrid": Scenario("llama-2-13b", "24GiB", "bf16", HYBRID),
    "70b int4, 24 GiB, hybrid": Scenario("llama-3-70b", "24GiB", "int4", HYBRID),
    "8b bf16, 8 GiB, streamed": Scenario("llama-3-8b", "8GiB", "bf16", STREAMED),
    "8b bf16, 8 GiB, hybrid": Scenario("llama-3-8b", "8GiB", "bf16", HYBRID),
}


@dataclass(frozen=True, slots=True)
class Virtual:
    """One plan in virtual time: seconds per token of the plan, of the program and of the bound, and what it queues.

    `planned_bytes` and `copied_bytes` cross to the GPU per token; `joins` are those of one token, for `split` blocks.
    """

    planned_seconds: float
    seconds: float
    bound_seconds: float
    planned_bytes: float
    copied_bytes: float
    split: int
    joins: int
    races: int
    waits: int
    missed: int


def run(scenario: Scenario, stop: StopRule, seed: int = 0) -> Virtual:
    """Plan the scenario and run its program; `missed` counts waits whose absence the vector clocks do not see."""
    problem = build_problem(
        shape(scenario.model), machine("rtx4090"), vram=scenario.vram, precision=scenario.precision
    )
    problem = replace(problem, modes=scenario.modes)
    plan = solve(problem, seed, stop, simulated=True)
    placement, step = plan.placement, decode_step(problem)
    split = frozenset(name for name, choice in placement.items() if choice.mode == "split")
    program = build_program(build_schedule(placement, problem.slots), TOKENS, split)
    spans = run_virtual(program, planned_seconds(problem, placement))
    blocks = {block.name: block for block in problem.blocks}
    copies = [o for o in program.operations if o.kind == "copy" and o.token == TOKENS - 1]
    waits = [i for i, operation in enumerate(program.operations) if operation.kind == "wait"]
    some = waits[:: max(1, len(waits) // 40)]
    return Virtual(
        planned_seconds=plan.prediction.tpot_seconds,
        seconds=seconds_per_token(spans),
        bound_seconds=plan.bound_seconds,
        planned_bytes=plan.prediction.bytes_per_token,
        copied_bytes=sum(copied_bytes(problem, blocks[o.subject], placement[o.subject], step) for o in copies),
        split=len(split),
        joins=program.count("join", TOKENS - 1),
        races=len(races(program)),
        waits=len(waits),
        missed=sum(not races(program.without(i)) for i in some),
    )


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 when a schedule has a race, misses a wait or is more than 5 % above its bound."""
    parser = argparse.ArgumentParser(prog="python -m llmdist.bench virtual", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="per plan (default 2)")
    options = parser.parse_args(list(arguments))
    print(
        "| RTX 4090 of the catalog, simulated | plan | virtual time | bound | above | joins per split block "
        "| to the GPU per token: plan, queued | races | waits missed |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    bad = False
    for name, scenario in SCENARIOS.items():
        v = run(scenario, MaxSeconds(options.seconds))
        above = v.seconds / v.bound_seconds - 1
        bad |= bool(v.races or v.missed) or above > 0.05
        joins = f"{v.joins / v.split:g}" if v.split else "-"
        print(
            f"| {name} | {1e3 * v.planned_seconds:.2f} ms | {1e3 * v.seconds:.2f} ms | {1e3 * v.bound_seconds:.2f} ms "
            f"| {above:.1%} | {joins} | {v.planned_bytes / 1e9:.2f}, {v.copied_bytes / 1e9:.2f} GB | {v.races} "
            f"| {v.missed} of {v.waits} |",
            flush=True,
        )
    return int(bad)
