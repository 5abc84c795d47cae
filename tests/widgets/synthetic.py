"""Made-up plans and events for the views: no model, no planner, no clock."""

from __future__ import annotations

import math

from llmdist.events import (
    BlockComputed,
    CopyFinished,
    Event,
    GenerationFinished,
    GenerationStarted,
    IterationFinished,
    PlanFinished,
    PlanStarted,
    TokenProduced,
)
from llmdist.hardware.profile import Device, Link
from llmdist.model.blocks import Block
from llmdist.planner.placement import Assignment, Placement
from llmdist.planner.problem import PlanningProblem
from llmdist.planner.result import HistoryRow, PlanResult, Prediction

GIB = 2**30


def make_problem(layers: int) -> PlanningProblem:
    """Return a problem of 2 x layers + 2 blocks on a GPU, a CPU and a disk."""
    blocks = [Block("embed", "embed", 10**6, 10**3, 0.0)]
    for layer in range(layers):
        blocks.append(Block(f"layers.{layer}.attention", "attention", 10**6, 10**6, 2e6, 256, 1e3))
        blocks.append(Block(f"layers.{layer}.mlp", "mlp", 3 * 10**6, 3 * 10**6, 6e6))
    blocks.append(Block("head", "head", 10**6, 10**6, 2e6))
    devices = (
        Device("cuda:0", "cuda", 8 * GIB, 7 * GIB, 1e12, 1e14, 1e-5),
        Device("cpu", "cpu", 64 * GIB, 48 * GIB, 5e10, 1e12, 1e-5),
        Device("disk", "disk", 900 * GIB, 500 * GIB),
    )
    links = (
        Link("cpu", "cuda:0", 2e10, 1e-5),
        Link("cuda:0", "cpu", 2e10, 1e-5),
        Link("disk", "cuda:0", 3e9, 1e-4),
        Link("disk", "cpu", 3e9, 1e-4),
    )
    return PlanningProblem(
        tuple(blocks), devices, links, 1024, caps={"cuda:0": 6 * GIB}, precisions=("bf16", "int8")
    )


def make_plan(layers: int = 12) -> tuple[PlanResult, list[Event]]:
    """Return a plan of three modes with the events of a search of 40 iterations."""
    problem = make_problem(layers)
    n = len(problem.blocks)
    names = tuple(block.name for block in problem.blocks)
    chosen = [Assignment("cuda:0", "cuda:0", "bf16")] * n
    chosen[n // 2 :] = [Assignment("cuda:0", "cpu", "bf16")] * (n - n // 2)
    chosen[4 * n // 5 :] = [Assignment("cpu", "cpu", "int8")] * (n - 4 * n // 5)
    chosen[-1] = Assignment("cpu", "disk", "bf16")
    options = [problem.options(block) for block in problem.blocks]
    best = tuple(options[i].index(choice) for i, choice in enumerate(chosen))
    events: list[Event] = [
        PlanStarted(
            names, tuple(tuple(o.label for o in row) for row in options), ("cuda:0",), "latency"
        )
    ]
    history = []
    for t in range(1, 41):
        sharp = 1 - math.exp(-t / 12)
        trail = tuple(
            tuple(
                1.0 if k == best[i] else (1 - sharp) * ((7 * i + 3 * k) % 10) / 10
                for k in range(len(row))
            )
            for i, row in enumerate(options)
        )
        seconds, mean = 0.030 + 0.02 * math.exp(-t / 6), 0.034 + 0.05 * math.exp(-t / 10)
        events.append(IterationFinished(t, t / 20, seconds, mean, 0.0292, 1 - sharp, trail, best))
        history.append(HistoryRow(t, t / 20, seconds, mean, 1 - sharp))
    events.append(PlanFinished(40, 2.0, history[-1].best, 0.0292, "time"))
    peak = {"cuda:0": int(5.7 * GIB), "cpu": 12 * GIB}
    prediction = Prediction(33.3, 0.03, 0.41, peak, 3 * GIB // 2, (1e-3,) * n, (0.0,) * n)
    result = PlanResult(
        problem, Placement(names, tuple(chosen)), prediction, history[-1].best, 0.0292,
        "ants", 0, 40, 1280, 2.0, tuple(history), events[-2].trail,  # type: ignore[union-attr]
    )  # fmt: skip
    return result, events


def make_generation(plan: PlanResult, count: int = 48) -> tuple[str, list[Event]]:
    """Return text and events of `count` tokens, some 5 % slower than predicted."""
    events: list[Event] = [GenerationStarted(9, 33.3, 0.41, {"cuda:0": 6 * GIB, "cpu": 48 * GIB})]
    clock = 0.0
    for index in range(count):
        step = 0.43 if index == 0 else 0.0315 + 0.002 * math.sin(index)
        clock += step
        computes = tuple(
            BlockComputed(
                name,
                clock - 0.03 + i * 1e-3,
                clock - 0.03 + i * 1e-3 + 6e-4 + 4e-4 * (i % 2),
                c.exec_device,
            )
            for i, (name, c) in enumerate(plan.placement.items())
        )
        copies = tuple(
            CopyFinished(name, clock - 0.03, clock - 0.03 + 8e-4 + 9e-4 * (i % 2), 10**6, i % 2)
            for i, (name, c) in enumerate(plan.placement.items())
            if c.mode == "streamed"
        )
        memory = {"cuda:0": int(5.5 * GIB) + index * 10**6, "cpu": 12 * GIB}
        events.append(TokenProduced(index, 7, " word", clock, step, GIB, memory, copies, computes))
    events.append(GenerationFinished("length", count, 0.43, 31.6, count * GIB, {"cuda:0": 6 * GIB}))
    return "The ants <found> a path & kept it." + " word" * count, events
