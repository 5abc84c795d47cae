"""What the planner's equations leave out, from two runs of the bundled model through a real engine.

One run has every block in memory: what a token takes beyond its blocks is the price of a pass. The other streams
every block from disk: what it takes beyond that is the hand-over of a block.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

from .demo import model_path
from .hardware import HardwareProfile
from .model.checkpoint import Checkpoint
from .model.tokenizer import Tokenizer
from .planner import Assignment, Placement, PlanningProblem, evaluate
from .session import Session

__all__ = ["with_engine_prices"]

_TOKENS, _WARM_UP = 64, 16
_LARGEST_HANDOVER, _ROUNDS = 0.1, 30


def with_engine_prices(profile: HardwareProfile) -> HardwareProfile:
    """Return `profile` with the CPU's `pass_seconds` and `handover_seconds` as the engine has them.

    The price of a pass holds the question to the engine process and its answer, the records, and the choice of the
    token; the hand-over holds the threads that pass a copy on, and weights that no cache has seen.

    Raises
    ------
    LlmdistError : the bundled model cannot run here.
    """
    devices = tuple(device for device in profile.devices if device.kind in ("cpu", "disk"))
    links = tuple(link for link in profile.links if (link.source, link.target) == ("disk", "cpu"))
    folder = model_path()
    alone = replace(profile, devices=devices, links=links)
    session = Session("demo", Checkpoint.open(folder), Tokenizer.open(folder), alone, isolate=True)
    try:
        plan = session.plan(context=128, seconds=0.2)
        resident = max(0.0, _token_seconds(session) - plan.prediction.tpot_seconds)
        names = plan.placement.blocks
        choices = (Assignment("cpu", "cpu" if name == "embed" else "disk", "bf16") for name in names)
        streaming = Placement(names, tuple(choices))
        session.apply(streaming)
        problem = replace(plan.problem, devices=_priced(alone, pass_seconds=resident).devices)
        handover = _handover(problem, streaming, _token_seconds(session))
    finally:
        session.unload()
    return _priced(profile, pass_seconds=resident, handover_seconds=handover)


def _priced(profile: HardwareProfile, **prices: float) -> HardwareProfile:
    devices = (replace(d, **prices) if d.kind == "cpu" else d for d in profile.devices)  # type: ignore[arg-type]
    return replace(profile, devices=tuple(devices))


def _token_seconds(session: Session) -> float:
    """Return the median seconds per token, the first ones left out."""
    steps = list(session.generate("One day", max_new_tokens=_TOKENS))
    return statistics.median(step.step_seconds for step in steps[_WARM_UP:])


def _handover(problem: PlanningProblem, placement: Placement, measured: float) -> float:
    """Return the CPU's `handover_seconds` that make the prediction `measured` seconds per token; 0 if that is less."""

    def predicted(seconds: float) -> float:
        devices = tuple(replace(d, handover_seconds=seconds) if d.kind == "cpu" else d for d in problem.devices)
        return evaluate(replace(problem, devices=devices), placement).tpot_seconds

    low, high = 0.0, _LARGEST_HANDOVER
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if predicted(middle) < measured else (low, middle)
    return low
