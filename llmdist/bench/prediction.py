"""``python -m llmdist.bench prediction``: predicted against measured tokens per second, before and after calibration.

Each model takes twelve placements on the CPU, from everything in memory to everything but the embedding on disk, the
streamed blocks spread evenly, and the colony's plans under three memory caps. One calibration run, under a placement
that is none of these, corrects the prices; both predictions stand beside the same measurements. That placement is
measured again among the others ("as calibrated"), which tells how much the machine itself has changed. The error is
|predicted / measured - 1|. ``--why`` states what changes of three blocks cost, makes them, and measures.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..calibration import CalibrationLog
from ..demo import model_path
from ..hardware import hardware_profile
from ..hardware.cached import busy_share
from ..model.checkpoint import Checkpoint
from ..model.tokenizer import Tokenizer
from ..planner import Assignment, Placement, PlanningProblem, evaluate
from ..planner.build import build_problem
from ..session import Session
from ._why_measured import why_rows
from .rows import Row, table, write_json
from .synthetic import SHAPES, write_synthetic

__all__ = ["calibration_placement", "main", "placements", "session_of"]

_STEPS = 12
_CONTEXT = 256
_CALM_SHARE = 0.2
_CAP_SHARES = (0.75, 0.5, 0.25)  # of the way from all streamed to all in memory


class _Run(NamedTuple):
    """How much is measured: tokens per run, tokens of the calibration run, rounds over all placements.

    `calm_seconds`: how long at most a run waits for other work on the machine to end.
    """

    tokens: int
    calibration_tokens: int
    rounds: int
    calm_seconds: float


def placements(blocks: Sequence[str], precision: str, count: int = _STEPS) -> list[Placement]:
    """Return `count` placements on the CPU with evenly more blocks streamed from disk, the embedding never."""
    return [_spread(blocks, precision, step / (count - 1)) for step in range(count)]


def calibration_placement(blocks: Sequence[str], precision: str) -> Placement:
    """Return the placement of the calibration run: of the first two thirds every other block is streamed.

    In the last third nothing is copied, so that computing alone can be seen; it is none of `placements`.
    """
    names = [name for name in blocks if name != "embed"]
    streamed = set(names[: 2 * len(names) // 3 : 2])
    return _placed(blocks, streamed, precision)


def _spread(blocks: Sequence[str], precision: str, share: float) -> Placement:
    streamed, carry = set(), 0.0
    for name in blocks:
        if name == "embed":
            continue
        carry += share
        if carry >= 1 - 1e-9:
            streamed.add(name)
            carry -= 1
    return _placed(blocks, streamed, precision)


def _placed(blocks: Sequence[str], streamed: set[str], precision: str) -> Placement:
    homes = ("disk" if name in streamed else "cpu" for name in blocks)
    return Placement(tuple(blocks), tuple(Assignment("cpu", home, precision) for home in homes))


def session_of(model: Path) -> Session:
    """Return a session with a log of its own, so that a benchmark neither reads nor changes the user's."""
    checkpoint = Checkpoint.open(model)
    log = CalibrationLog({}, None)
    return Session(str(model), checkpoint, Tokenizer.open(model), hardware_profile(model), True, log)


def _seconds(session: Session, placement: Placement, tokens: int, calm_seconds: float = 0.0) -> float:
    """Return the median seconds per token under `placement`, the first quarter left out."""
    session.apply(placement)
    end = time.monotonic() + calm_seconds
    while time.monotonic() < end and busy_share() > _CALM_SHARE:
        pass
    steps = list(session.generate("Anna", max_new_tokens=tokens))
    return statistics.median(step.step_seconds for step in steps[tokens // 4 :])


def _problems(session: Session) -> tuple[PlanningProblem, PlanningProblem]:
    """Return the problem with the prices as measured, and with those that the runs so far corrected."""
    assert session.calibration is not None
    after = session.calibration.applied(session.hardware)
    first, second = (build_problem(session.profile, h, context=_CONTEXT) for h in (session.hardware, after))
    return first, second


def cap_between(session: Session, share: float) -> int:
    """Return the bytes of memory at `share` of the way from everything streamed to everything resident."""
    plan = session.plan(context=_CONTEXT, seconds=0.2)
    least, most = placements(plan.placement.blocks, session.profile.precision)[-1], plan.placement
    low, high = (evaluate(plan.problem, one).peak_bytes["cpu"] for one in (least, most))
    return int(low + share * (high - low))


def _under_caps(session: Session) -> list[Placement]:
    """Return the colony's plans under three caps."""
    caps = [cap_between(session, share) for share in _CAP_SHARES]
    return [session.plan(context=_CONTEXT, ram=cap, seconds=1.0).placement for cap in caps]


def _measure(name: str, session: Session, run: _Run) -> list[Row]:
    """Return one row per placement; rounds go through all placements in turn, after the calibration run."""
    plan = session.plan(context=_CONTEXT, seconds=0.5)
    names, precision = plan.placement.blocks, session.profile.precision
    chosen = [("spread", placement) for placement in placements(names, precision)]
    chosen += [("under a cap", placement) for placement in _under_caps(session)]
    chosen += [("as calibrated", calibration_placement(names, precision))]
    session.plan(context=_CONTEXT, seconds=0.5)
    _seconds(session, calibration_placement(names, precision), run.calibration_tokens, 6 * run.calm_seconds)
    before, after = _problems(session)
    assert session.calibration is not None
    print(f"{name}: {session.calibration.sentence()}", flush=True)
    session.calibrate = False
    seen: list[list[float]] = [[] for _ in chosen]
    for _ in range(run.rounds):
        for i, (_, placement) in enumerate(chosen):
            seen[i].append(1 / _seconds(session, placement, run.tokens, run.calm_seconds))
    rows = []
    for (kind, placement), speeds in zip(chosen, seen, strict=True):
        value = statistics.median(speeds)
        said, corrected = evaluate(before, placement), evaluate(after, placement)
        low, high = corrected.band
        facts = {
            "predicted": said.tokens_per_second, "error": abs(said.tokens_per_second / value - 1),
            "calibrated": corrected.tokens_per_second, "error_calibrated": abs(corrected.tokens_per_second / value - 1),
            "band": [low, high], "in_band": low <= value <= high, "streamed": placement.count("streamed"),
            "rounds": speeds, "kind": kind,
        }  # fmt: skip
        label = (
            f"{name}, {facts['streamed']} of {len(names)} streamed {kind}, predicted {said.tokens_per_second:.4g}, "
            f"calibrated {corrected.tokens_per_second:.4g} ({low:.4g} to {high:.4g})"
        )
        ratio = corrected.tokens_per_second / value
        rows.append(Row(label, "llmdist", "decode", value, "tokens/s", ratio, None, facts))
    return rows


def _errors(rows: Sequence[Row]) -> dict[str, float]:
    """Return the median and the worst error per model and kind of placement, before and after calibration."""
    found = {}
    models = dict.fromkeys((row.scenario.split(",")[0], str(row.conditions["kind"])) for row in rows)
    for name, kind in models:
        own = [row.conditions for row in rows if row.scenario.startswith(name + ",")]
        mine = [facts for facts in own if facts["kind"] == kind]
        for word, key in (("before", "error"), ("after one run", "error_calibrated")):
            errors = [float(facts[key]) for facts in mine]
            found[f"{name}, {kind}: median error {word}"] = statistics.median(errors)
            found[f"{name}, {kind}: worst error {word}"] = max(errors)
        found[f"{name}, {kind}: share in the band"] = statistics.mean(bool(facts["in_band"]) for facts in mine)
    return found


def main(arguments: Sequence[str]) -> int:
    """Read the command line, measure, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m llmdist.bench prediction", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("bench-prediction.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=(*SHAPES, "none"), default="1b", help="beside the bundled model")
    parser.add_argument("--calm", type=float, default=0.0, metavar="X",
                        help="before each run wait at most X seconds for other work to end (0)")  # fmt: skip
    parser.add_argument("--only-shape", action="store_true", help="leave the bundled model out")
    parser.add_argument("--work", type=Path, help="folder for the model; a temporary one by default")
    parser.add_argument("--why", action="store_true", help="measure what changes of three blocks cost instead")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="llmdist-bench-") as temporary:
        models: dict[str, tuple[Path, _Run]] = {}
        if not options.only_shape:
            models["demo"] = model_path(), _Run(48, 64, options.rounds, options.calm)
        if options.shape != "none":
            folder = (options.work or Path(temporary)) / f"llama-{options.shape}"
            write_synthetic(folder, SHAPES[options.shape], tokenizer=True)
            models[f"Llama {options.shape}"] = folder, _Run(8, 16, options.rounds, options.calm)
        rows = [row for name, (folder, run) in models.items() for row in _rows(name, folder, run, options.why)]
    print(table(rows))
    limits = {} if options.why else _errors(rows)
    print("\n".join(f"{name}: {value:.1%}" for name, value in limits.items()))
    write_json(options.json, limits, rows)
    return 0


def _rows(name: str, model: Path, run: _Run, why: bool) -> list[Row]:
    session = session_of(model)
    try:
        if not why:
            return _measure(name, session, run)
        names = session.plan(context=_CONTEXT, seconds=0.5).placement.blocks
        placement = calibration_placement(names, session.profile.precision)
        _seconds(session, placement, run.calibration_tokens, 6 * run.calm_seconds)

        def seconds(changed: Placement) -> float:
            return _seconds(session, changed, run.tokens, run.calm_seconds)

        return why_rows(name, session, cap_between(session, 0.5), seconds, run.rounds)
    finally:
        session.unload()
