"""Generations that a made-up machine would have had: the cost model itself plays the engine, at prices we choose."""

from __future__ import annotations

from dataclasses import replace

from llmdist.calibration.pricing import corrected, priced_as
from llmdist.cost.timeline import predicted_timeline
from llmdist.events import BlockComputed, CopyFinished, Event, GenerationFinished, GenerationStarted, TokenProduced
from llmdist.hardware import Device, HardwareProfile, Link
from llmdist.model.blocks import Block, ModelProfile
from llmdist.planner import Assignment, MaxIterations, Placement, PlanResult, evaluate, solve
from llmdist.planner.build import build_problem

__all__ = ["CONTEXT", "HARDWARE", "MODEL", "placed", "plan_of", "played"]

CONTEXT, PROMPT, SLOTS = 256, 16, 2
MIB = 2**20


def _model(layers: int = 6) -> ModelProfile:
    blocks = [Block("embed", "embed", 10**6, 10**3, 0.0)]
    for layer in range(layers):
        blocks.append(Block(f"layers.{layer}.attention", "attention", 4 * 10**6, 4 * 10**6, 8e6, 256, 1e3))
        blocks.append(Block(f"layers.{layer}.mlp", "mlp", 9 * 10**6, 9 * 10**6, 18e6))
    blocks.append(Block("head", "head", 6 * 10**6, 6 * 10**6, 12e6))
    return ModelProfile("toy", tuple(blocks), 512, 32000, 1024, "bf16")


MODEL = _model()
HARDWARE = HardwareProfile(
    "here",
    (
        Device("cpu", "cpu", 2**34, 2**33, 20e9, 1e12, 1e-5, pass_seconds=1e-3, handover_seconds=8e-4,
               handover_seconds_per_byte=2e-11),
        Device("disk", "disk", 2**40, 2**39),
    ),
    (Link("disk", "cpu", 2e9, 1e-4),),
    "2026-11-27",
)  # fmt: skip


def placed(streamed: set[str]) -> Placement:
    """Return a CPU placement with the named blocks on disk."""
    names = tuple(block.name for block in MODEL.blocks)
    return Placement(names, tuple(Assignment("cpu", "disk" if n in streamed else "cpu", "bf16") for n in names))


def plan_of(placement: Placement) -> PlanResult:
    """Return a plan with `placement` in force, priced by the profile as measured."""
    problem = build_problem(MODEL, HARDWARE, context=CONTEXT)
    plan = solve(problem, stop=MaxIterations(1))
    return replace(plan, placement=placement, prediction=evaluate(problem, placement))


def played(placement: Placement, factors: dict[str, float], tokens: int = 24, slower: float = 1.0) -> list[Event]:
    """Return the events of a generation on a machine whose true prices are the profile's times `factors`."""
    true = corrected(HARDWARE, factors)
    problem = priced_as(MODEL, true, placement, PROMPT + tokens // 2, SLOTS)
    one = predicted_timeline(problem, placement)
    events: list[Event] = [GenerationStarted(PROMPT, 1.0, 1.0, {})]
    for index in range(tokens):
        zero = index * one.seconds
        spans = [replace(s, start_seconds=zero + s.start_seconds, end_seconds=zero + s.end_seconds) for s in one.spans]
        events.append(
            TokenProduced(
                index, 1, "x", zero + one.seconds, slower * one.seconds, 0, {},
                tuple(CopyFinished(s.block, s.start_seconds, s.end_seconds, MIB, 0) for s in spans if s.kind == "copy"),
                tuple(BlockComputed(s.block, s.start_seconds, s.end_seconds, s.lane)
                      for s in spans if s.kind == "compute"),
            )
        )  # fmt: skip
    return [*events, GenerationFinished("length", tokens, 1.0, 1 / one.seconds, 0, {})]
