"""Lesson 4: the rule 'fill in order', what a placement takes on this machine, and whether one beats the rule.

`measure` runs a model. `case` and `check_beats` are the planner's cost model: simulated, and said so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..cost.timeline import Timeline, measured_timeline, predicted_timeline
from ..errors import PlanError
from ..events import Event, TokenProduced
from ..planner import Assignment, Placement, PlanningProblem, evaluate, violations
from ..session import Session
from ..units import parse_size
from . import hiding
from .verdict import Verdict

__all__ = ["Measured", "case", "check_beats", "fill_in_order", "half_of", "measure", "sizes"]

PROMPT = "One day Anna the ant walked to the"
ASKED = 0.10  # share of the rule's time per token that the exercise asks for


def fill_in_order(problem: PlanningProblem) -> Placement:
    """Return the plan of the rule: block after block into the fastest memory with room; the rest rests on disk.

    A block is computed where it rests; one on disk is streamed to the fastest device.
    """
    devices = sorted((d for d in problem.devices if d.executes), key=lambda d: -d.bandwidth)
    disk = next(d.name for d in problem.devices if d.kind == "disk")
    precision = problem.precisions[0]
    homes = [Assignment(d.name, d.name, precision) for d in devices] + [Assignment(devices[0].name, disk, precision)]
    names = tuple(block.name for block in problem.blocks)
    for filling in _fillings(len(names), homes):
        placement = Placement(names, filling)
        if not violations(problem, placement):
            return placement
    raise PlanError("The rule finds no room under these caps: raise one.")


def _fillings(blocks: int, homes: list[Assignment]) -> Iterator[tuple[Assignment, ...]]:
    """Yield every way to fill `homes` one after the other, the fullest first homes before others."""
    if len(homes) == 1:
        yield (homes[0],) * blocks
        return
    for count in range(blocks, -1, -1):
        for rest in _fillings(blocks - count, homes[1:]):
            yield (homes[0],) * count + rest


def half_of(session: Session) -> int:
    """Return the bytes of RAM with which half of the weights of the session's plan no longer fit."""
    plan = session.plan_result or session.plan()
    precision = plan.problem.precisions[0]
    weights = sum(block.weight_bytes(precision) for block in plan.problem.blocks)
    return plan.prediction.peak_bytes["cpu"] - weights // 2


@dataclass(frozen=True, slots=True)
class Measured:
    """One placement on the real engine. `timeline` is that of the token that took `seconds`."""

    seconds: float
    timeline: Timeline
    predicted_seconds: float
    predicted: Timeline


def measure(
    session: Session, placements: Mapping[str, Placement], rounds: int = 5, tokens: int = 24
) -> dict[str, Measured]:
    """Return what a token takes under every placement; the placement in force before is put back.

    They take turns, and the lower quartile of the tokens counts: other work on the machine only makes slower.
    """
    before = (session.plan_result or session.plan()).placement
    heard: dict[str, list[TokenProduced]] = {name: [] for name in placements}
    for _ in range(rounds):
        for name, placement in placements.items():
            session.apply(placement)
            heard[name] += _tokens(session, tokens)
    session.apply(before)
    assert session.plan_result is not None
    problem = session.plan_result.problem
    return {name: _quartile(problem, placements[name], found) for name, found in heard.items()}


def _tokens(session: Session, tokens: int) -> list[TokenProduced]:
    """Return the tokens of one generation without the first few, in which the engine starts."""
    heard: list[TokenProduced] = []

    def observe(event: Event) -> None:
        if isinstance(event, TokenProduced):
            heard.append(event)

    list(session.generate(PROMPT, max_new_tokens=tokens, on_event=observe))
    return heard[3:]


def _quartile(problem: PlanningProblem, placement: Placement, heard: list[TokenProduced]) -> Measured:
    token = sorted(heard, key=lambda one: one.step_seconds)[len(heard) // 4]
    predicted = predicted_timeline(problem, placement)
    seconds = evaluate(problem, placement).tpot_seconds
    return Measured(token.step_seconds, measured_timeline(token), seconds, predicted)


def case(
    shape: str = "llama-2-13b", machine: str = "rtx4090", vram: str = "16GiB", ram: str = "9GiB"
) -> PlanningProblem:
    """Return the problem of Part B, simulated: other programs hold the rest of the card and of the RAM."""
    made = hiding.problem(shape, machine)
    return made.with_caps({hiding.GPU: parse_size(vram), hiding.HOST: parse_size(ram)})


def sizes(made: PlanningProblem) -> dict[str, tuple[int, int]]:
    """Return, for one block of each kind with weights, its bytes and how many of them a token reads."""
    kinds = {block.kind: block for block in made.blocks if block.parameters}
    bytes_of = {kind: block.weight_bytes(made.precisions[0]) for kind, block in kinds.items()}
    return {
        kind: (size, round(size * kinds[kind].parameters_per_token / kinds[kind].parameters))
        for kind, size in bytes_of.items()
    }


def check_beats(placement: Placement, made: PlanningProblem, by: float = ASKED) -> Verdict:
    """Check that `placement` keeps the caps of `made` and takes the share `by` less per token than the rule."""
    found = violations(made, placement)
    if found:
        return Verdict(False, f"this cannot run: {'; '.join(found)}.")
    offered = zip(made.blocks, placement.assignments, strict=True)
    if any(choice not in made.options(block) for block, choice in offered):
        return Verdict(False, f"a block is stored otherwise than this problem allows ({', '.join(made.precisions)}).")
    rule = evaluate(made, fill_in_order(made)).tpot_seconds
    less = 1 - evaluate(made, placement).tpot_seconds / rule
    if less >= by:
        return Verdict(True, f"a token takes {less:.1%} less time than by the rule, under the same caps (simulated).")
    if abs(less) < 5e-4:
        return Verdict(False, f"a token takes as long as by the rule; {by:.0%} less are asked.")
    side = f"{less:.1%} less" if less > 0 else f"{-less:.1%} more"
    return Verdict(False, f"a token takes {side} time than by the rule; {by:.0%} less are asked.")
