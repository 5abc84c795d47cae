"""A session learns from its generations: one observation each, corrected later plans, and nothing where it is off."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmdist
from llmdist import Session
from llmdist.calibration import CalibrationLog
from llmdist.demo import model_path
from llmdist.model.checkpoint import Checkpoint
from llmdist.model.tokenizer import Tokenizer
from llmdist.planner import MaxIterations

sys.path.insert(0, str(Path(__file__).parent))
from played import HARDWARE

PROMPT = "One day Anna the ant walked to the"


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """The bundled model with a log of its own, the engine in this process."""
    folder = model_path()
    log = CalibrationLog({"machine": "this"}, tmp_path / "log.json")
    session = Session("demo", Checkpoint.open(folder), Tokenizer.open(folder), HARDWARE, False, log)
    session.plan(context=256, stop=MaxIterations(1))
    yield session
    session.unload()


def run(session: Session, tokens: int = 16, **options: object) -> None:
    """Generate and throw the text away."""
    list(session.generate(PROMPT, max_new_tokens=tokens, **options))  # type: ignore[arg-type]


def test_a_generation_adds_exactly_one_observation(session: Session) -> None:
    """It has what was told, what was measured and the prices behind it, and another session on the file sees it."""
    assert session.predictions == ()
    told = session.plan_result.prediction
    run(session)
    (seen,) = session.predictions
    assert seen.tokens == 16 and seen.told_tokens_per_second == told.tokens_per_second
    assert seen.measured_seconds == pytest.approx(session.stats.tpot_seconds, rel=0.8)
    assert {"pass", "compute cpu bf16"} <= {term.name for term in seen.terms if term.measured_seconds}
    assert CalibrationLog({"machine": "this"}, session._log.path).observations == (seen,)


def test_short_batched_guessed_and_moved_runs_add_none(session: Session) -> None:
    """What cannot be priced is not logged."""
    run(session, tokens=5)
    session.plan(context=256, batch=2, stop=MaxIterations(1))
    list(session.generate_batch([PROMPT, "Two"], max_new_tokens=12))
    list(session.generate("a b a b a b a b", max_new_tokens=16, speculate="ngram"))
    names = session.plan_result.placement.blocks
    for step in session.generate(PROMPT, max_new_tokens=16):
        if step.index == 5:
            session.apply(session.plan_result.placement.moved({names[3]: llmdist.Assignment("cpu", "disk", "bf16")}))
    assert session.predictions == ()


def test_later_plans_have_corrected_prices_and_a_plan_in_force_keeps_its_own(session: Session) -> None:
    """The problem of the next plan has the factors and the spread; the profile and the former plan stay."""
    before, hardware = session.plan_result, session.hardware
    for _ in range(3):
        run(session)
    calibration = session.calibration
    assert calibration is not None and calibration.runs == 3 and calibration.factors
    assert session.plan_result is before and session.hardware is hardware
    after = session.plan(context=256, stop=MaxIterations(1))
    device = next(d for d in after.problem.devices if d.name == "cpu")
    assert device.precision_factors == {"bf16": calibration.factors["compute cpu bf16"]}
    assert after.prediction.spread == after.problem.spread == calibration.spread > 0
    assert after.what_if({"head": "cpu cpu bf16"}).prediction.spread == calibration.spread


def test_switched_off_it_neither_corrects_nor_learns(session: Session) -> None:
    """Plans are those of the profile as measured, without a band, and the log stays as it is."""
    run(session)
    session.calibrate = False
    assert session.calibration is None
    plan = session.plan(context=256, stop=MaxIterations(1))
    assert plan.problem.devices == tuple(session.hardware.devices) and plan.prediction.spread == 0
    run(session)
    assert len(session.predictions) == 1 and "predictions" not in session.describe()


def test_forgetting_brings_the_measured_prices_back(session: Session) -> None:
    """After it the next plan is uncorrected and carries the usual band."""
    run(session)
    assert session.forget_predictions() == 1 and session.predictions == ()
    plan = session.plan(context=256, stop=MaxIterations(1))
    assert not plan.problem.devices[0].precision_factors and plan.prediction.spread > 0


def test_describe_tells_predictions_with_their_bands(session: Session) -> None:
    """The log and what was corrected stand at the end of the status."""
    run(session)
    words = session.describe()
    assert "expected" in words and words.splitlines()[-1].startswith("One run of demo corrected ")


def test_a_damaged_log_is_told_once_and_does_not_stop_a_session(tmp_path: Path) -> None:
    """The sentence is among the session's messages."""
    folder = model_path()
    (tmp_path / "log.json").write_text("{")
    log = CalibrationLog({}, tmp_path / "log.json")
    made = Session("demo", Checkpoint.open(folder), Tokenizer.open(folder), HARDWARE, False, log)
    assert [note for note in made.messages if "cannot be read" in note]
    made.unload()


def test_load_without_calibration_plans_as_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """`calibrate=False` is what a lesson uses; without it the usual band stands beside the prediction."""
    monkeypatch.setattr("llmdist.session.hardware_profile", lambda folder, progress: HARDWARE)
    loaded = llmdist.load("demo", calibrate=False)
    plan = loaded.plan(context=256, stop=MaxIterations(1))
    assert loaded.calibration is None and plan.prediction.spread == 0
    loaded.calibrate = True
    assert loaded.plan(context=256, stop=MaxIterations(1)).prediction.spread > 0
    loaded.unload()


def test_a_simulated_machine_is_never_calibrated(session: Session) -> None:
    """Plans for machines that are not there have no band and no correction, whatever this machine learned."""
    run(session)
    plan = llmdist.plan_for(session.profile, "rtx4090", stop=MaxIterations(1))
    assert plan.prediction.spread == 0 and not any(d.precision_factors for d in plan.problem.devices)
