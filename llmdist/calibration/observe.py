"""From the events of one generation to an observation, or to none where the run says nothing of single prices.

The engine's records hold wall-clock times of blocks. A block that computes while a copy runs shares the processor
with it, and the first one after a wait wakes the threads that compute. So only undisturbed blocks behind undisturbed
ones speak for computing, and only an undisturbed gap between two passes for the price of a pass. The hand-over has no
record: it is what is left, so that the whole pass comes out.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from itertools import pairwise
from math import sqrt

from ..cost.memory import needs_slot
from ..cost.timing import compute_seconds, decode_step
from ..events import CopyFinished, Event, GenerationStarted, PlacementChanged, StageRestarted, TokenProduced
from ..hardware.profile import HardwareProfile
from ..model.blocks import ModelProfile
from ..planner.placement import Placement
from ..planner.problem import PlanningProblem
from ..planner.result import PlanResult
from .fit import Calibration
from .observation import Observation, Term, model_key, packed_placement
from .pricing import (
    PASS,
    compute_term,
    copy_term,
    corrected,
    handover_term,
    pass_seconds,
    predicted_terms,
    priced_as,
)

__all__ = ["LEAST_TOKENS", "observed"]

LEAST_TOKENS, WARM_UP, LEAST_SAMPLES = 8, 3, 3
_RANGE, _STEPS = (1 / 8, 64.0), 14
#: In a streamed run a shorter block says more of caches that copies emptied than of computing.
SHORTEST_SECONDS = 200e-6
#: A price tells nothing of itself when 50 % more of it change the pass by less than this share.
_FELT = 0.03
Spans = Sequence[tuple[float, float]]


def observed(
    events: Sequence[Event],
    plan: PlanResult,
    profile: ModelProfile,
    hardware: HardwareProfile,
    calibration: Calibration,
    now: datetime | None = None,
) -> Observation | None:
    """Return what the generation in `events` under `plan` says; None when it is short, or was not left alone.

    Parameters
    ----------
    events : of one plain generation of one sequence.
    hardware : the uncalibrated profile. calibration : at hand, for prices that the run does not show well.
    now : when it ended; by default this minute.
    """
    tokens = [event for event in events if isinstance(event, TokenProduced)]
    started = next((event for event in events if isinstance(event, GenerationStarted)), None)
    if any(isinstance(event, PlacementChanged | StageRestarted) for event in events):
        return None
    kept = [token for token in tokens[WARM_UP:] if token.computes and token.step_seconds > 0]
    packed = packed_placement(plan.placement)
    modes = {choice.mode for choice in plan.placement.assignments}
    if len(tokens) < LEAST_TOKENS or not kept or packed is None or started is None or modes - {"resident", "streamed"}:
        return None
    context, slots = started.prompt_tokens + len(tokens) // 2, plan.problem.slots
    kv = plan.problem.workload.kv_precision
    kv = kv if kv == "int8" else ""
    problem = priced_as(profile, hardware, plan.placement, context, slots, kv)
    measured = statistics.median(token.step_seconds for token in kept)
    ratios = _ratios(problem, plan.placement, kept, measured)

    def seconds(corrections: Mapping[str, float]) -> float:
        return pass_seconds(profile, corrected(hardware, corrections), plan.placement, context, slots, kv)

    factors = calibration.factors
    settled = {name: factors[name] for name in calibration.settled}
    used = {**factors, **ratios, **settled}
    predicted = predicted_terms(problem, plan.placement)
    for name in predicted:
        if name.startswith(handover_term("")) and predicted[name] > 0:
            ratios[name] = _rest(used, name, measured, seconds)
    terms = tuple(
        Term(name, said, said * seen if (seen := ratios.get(name)) else None, used.get(name) or 1.0)
        for name, said in predicted.items()
    )
    when = (now or datetime.now(timezone.utc)).isoformat(timespec="minutes")
    return Observation(
        when, model_key(profile), *packed, slots, context, len(tokens), started.predicted_tokens_per_second,
        plan.prediction.spread, seconds({}), seconds(factors), measured, terms, kv,
    )  # fmt: skip


def _ratios(
    problem: PlanningProblem, placement: Placement, tokens: Sequence[TokenProduced], measured: float
) -> dict[str, float | None]:
    """Return measured / predicted of every price that the records show."""
    copies = [copy for token in tokens for copy in token.copies]
    busy = _union(_spans(copies))
    found: dict[str, float | None] = {**_computing(problem, placement, tokens, busy)}
    found |= _copying(problem, placement, tokens)
    between = _between(tokens, busy, measured, bool(copies))
    if between is not None and problem.pass_seconds > 0:
        found[PASS] = between / problem.pass_seconds
    return found


def _spans(copies: Iterable[CopyFinished]) -> list[tuple[float, float]]:
    return [(copy.start_seconds, copy.end_seconds) for copy in copies]


def _union(spans: Spans) -> list[tuple[float, float]]:
    """Return the same time as spans that do not overlap, in order."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _undisturbed(start: float, end: float, busy: Spans) -> bool:
    return not any(begin < end and start < over for begin, over in busy)


def _computing(
    problem: PlanningProblem, placement: Placement, tokens: Sequence[TokenProduced], busy: Spans
) -> dict[str, float]:
    """Return the ratio per CPU and precision, of resident blocks while nothing was copied."""
    step, kinds = decode_step(problem), {device.name: device.kind for device in problem.devices}
    durations: dict[str, list[float]] = defaultdict(list)
    copied = {name for name, choice in placement.items() if choice.copies and name != "embed"}
    last = max((end for _, end in busy), default=float("inf"))  # later copies are not in the records
    for token in tokens:
        quiet = False  # the first block after a wait wakes the threads that compute: that belongs to the wait
        for done in token.computes:
            before, quiet = quiet, _undisturbed(done.start_seconds, done.end_seconds, busy)
            quiet = quiet and done.end_seconds <= last and done.block not in copied
            if before and quiet:
                durations[done.block].append(done.end_seconds - done.start_seconds)
    said: dict[str, float] = defaultdict(float)
    seen: dict[str, float] = defaultdict(float)
    for block, choice in zip(problem.blocks, placement.assignments, strict=True):
        plain = block.kind not in ("embed", "experts") and choice.mode == "resident"
        if plain and kinds[choice.exec_device] == "cpu" and len(durations[block.name]) >= LEAST_SAMPLES:
            if copied and statistics.median(durations[block.name]) < SHORTEST_SECONDS:
                continue
            name = compute_term(choice.exec_device, choice.precision)
            said[name] += compute_seconds(problem, block, choice, step)
            seen[name] += statistics.median(durations[block.name])
    return {name: seen[name] / said[name] for name in said if said[name] > 0 and seen[name] > 0}


def _copying(
    problem: PlanningProblem, placement: Placement, tokens: Sequence[TokenProduced]
) -> dict[str, float]:
    """Return the ratio per pair of devices: the time in which at least one copy was under way."""
    predicted, names = predicted_terms(problem, placement), {}
    for block, choice in zip(problem.blocks, placement.assignments, strict=True):
        if needs_slot(block, choice):
            names[block.name] = copy_term(choice.home_device, choice.exec_device)
    found = {}
    for name in dict.fromkeys(names.values()):
        rows = [[copy for copy in token.copies if names.get(copy.block) == name] for token in tokens]
        seen = statistics.median(sum(end - start for start, end in _union(_spans(row))) for row in rows)
        if seen > 0 and predicted[name] > 0:
            found[name] = seen / predicted[name]
    return found


def _between(tokens: Sequence[TokenProduced], busy: Spans, measured: float, copied: bool) -> float | None:
    """Return the seconds of a pass beside its blocks; None where copies always ran meanwhile."""
    if not copied:
        computing = (sum(c.end_seconds - c.start_seconds for c in token.computes) for token in tokens)
        rest = measured - statistics.median(computing)
        return rest if rest > 0 else None
    gaps = [
        (before.computes[-1].end_seconds, after.computes[0].start_seconds)
        for before, after in pairwise(tokens)
        if after.index == before.index + 1
    ]
    free = [end - start for start, end in gaps if end > start and _undisturbed(start, end, busy)]
    return statistics.median(free) if len(free) >= LEAST_SAMPLES else None


def _rest(
    ratios: Mapping[str, float | None], name: str, measured: float, seconds: Callable[[Mapping[str, float]], float]
) -> float | None:
    """Return the factor of the price `name` with which a pass takes `measured` seconds; None if it is not felt."""
    known = {term: ratio for term, ratio in ratios.items() if ratio is not None}

    def pass_with(factor: float) -> float:
        return seconds({**known, name: factor})

    low, high = _RANGE
    if not pass_with(low) < measured < pass_with(high):
        return None
    for _ in range(_STEPS):
        middle = sqrt(low * high)
        low, high = (middle, high) if pass_with(middle) < measured else (low, middle)
    found = sqrt(low * high)
    felt = pass_with(1.5 * found) - pass_with(found / 1.5) >= _FELT * measured
    return found if felt else None
