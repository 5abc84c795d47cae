"""From generations of a machine whose true prices are known to corrected prices and an honest spread."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llmdist.calibration import PRIOR_SPREAD, Calibration, Observation, fit, model_key, observed
from llmdist.calibration.fit import LARGEST_FACTOR, LEAST_SPREAD, Checked, fitted_factors
from llmdist.calibration.pricing import corrected, pass_seconds
from llmdist.errors import PlanError
from llmdist.events import PlacementChanged, StageRestarted
from llmdist.hardware import HardwareProfile
from llmdist.planner import Placement, PlanResult, evaluate
from llmdist.planner.build import build_problem

sys.path.insert(0, str(Path(__file__).parent))
from played import CONTEXT, HARDWARE, MODEL, placed, plan_of, played

TRUE = {"compute cpu bf16": 1.4, "copy disk>cpu": 0.7, "handover cpu": 1.8, "pass": 2.0}
NAMES = [block.name for block in MODEL.blocks if block.name != "embed"]
RESIDENT = placed(set())
FIRST_HALF = placed(set(NAMES[: len(NAMES) // 2 : 2]))
UNKNOWN = Calibration(model_key(MODEL))


def seen(placement: Placement, factors: dict[str, float], **how: float) -> Observation:
    """Return what a generation at the true prices `factors` says."""
    found = observed(played(placement, factors, **how), plan_of(placement), MODEL, HARDWARE, UNKNOWN)
    assert found is not None
    return found


def of_runs(*runs: Observation) -> Calibration:
    """Return the calibration of the toy model."""
    return fit(runs, MODEL, HARDWARE)


def ratios(one: Observation) -> dict[str, float]:
    """Return measured / predicted of the prices that a run shows."""
    return {t.name: t.measured_seconds / t.predicted_seconds for t in one.terms if t.measured_seconds}


def test_a_run_in_memory_shows_computing_and_the_pass_exactly() -> None:
    """Nothing is copied, so both prices come out, and no other."""
    found = ratios(seen(RESIDENT, TRUE))
    assert set(found) == {"compute cpu bf16", "pass"}
    assert found["compute cpu bf16"] == pytest.approx(1.4, rel=0.02)
    assert found["pass"] == pytest.approx(2.0, rel=0.05)


def test_a_run_with_a_copied_first_half_shows_every_price() -> None:
    """Its second half computes undisturbed; the hand-over is the rest that makes the pass come out."""
    found = ratios(seen(FIRST_HALF, TRUE))
    assert found["compute cpu bf16"] == pytest.approx(1.4, rel=0.03)
    assert found["copy disk>cpu"] == pytest.approx(0.7, rel=0.03)
    assert found["handover cpu"] == pytest.approx(1.8, rel=0.1)


def test_short_blocks_of_a_streamed_run_do_not_speak_for_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies empty the caches that they live in; the rest goes to the hand-over, and a run in memory still counts."""
    monkeypatch.setattr("llmdist.calibration.observe.SHORTEST_SECONDS", 1.0)
    streamed = ratios(seen(FIRST_HALF, TRUE))
    assert "compute cpu bf16" not in streamed and streamed["handover cpu"] > 1.8
    assert "compute cpu bf16" in ratios(seen(RESIDENT, TRUE))


def test_known_factors_are_recovered_from_a_few_runs_and_price_a_new_placement() -> None:
    """After eight runs a placement that none of them had is priced within 5 %."""
    runs = [seen(p, TRUE) for p in (RESIDENT, FIRST_HALF, placed(set(NAMES[::4])), placed({"head"})) for _ in range(2)]
    found = of_runs(*runs)
    for name in ("compute cpu bf16", "pass", "handover cpu"):
        assert found.factors[name] == pytest.approx(TRUE[name], rel=0.15), name
    new = placed(set(NAMES[1::3]))
    price = [pass_seconds(MODEL, corrected(HARDWARE, f), new, CONTEXT, 2) for f in ({}, found.factors, TRUE)]
    assert abs(price[1] / price[2] - 1) < 0.05 < abs(price[0] / price[2] - 1)


def test_one_run_is_believed_only_in_part() -> None:
    """With one run a factor lies between 1 and what was seen; more runs come closer."""
    one, five = (of_runs(*[seen(RESIDENT, {"compute cpu bf16": 2.0})] * n).factors["compute cpu bf16"] for n in (1, 5))
    assert 1.3 < one < five < 2.0


def test_two_spoilt_runs_of_seven_move_nothing() -> None:
    """Runs beside a heavy load are outliers of a median."""
    good = [seen(RESIDENT, TRUE)] * 5
    spoilt = [seen(RESIDENT, {"compute cpu bf16": 30.0, "pass": 20.0})] * 2
    clean = fitted_factors(good)["compute cpu bf16"]
    assert fitted_factors([*good[:3], *spoilt, *good[3:]])["compute cpu bf16"] == pytest.approx(clean, rel=0.05)


def test_a_factor_stays_within_its_range() -> None:
    """However absurd the runs, no price becomes more than four times what was measured."""
    assert fitted_factors([seen(RESIDENT, {"pass": 500.0})] * 16)["pass"] <= LARGEST_FACTOR


def test_runs_in_memory_alone_speak_for_computing() -> None:
    """A streamed run in which computing looked three times as dear does not touch a price that is settled."""
    quiet, loud = seen(RESIDENT, {}), seen(FIRST_HALF, {"compute cpu bf16": 3.0})
    assert fitted_factors([quiet, loud, loud])["compute cpu bf16"] == pytest.approx(1.0, rel=0.02)
    assert "compute cpu bf16" in of_runs(quiet, loud).settled


def test_ratios_are_to_the_uncalibrated_prices() -> None:
    """A fit does not chase its own tail: under a corrected plan the same machine gives the same ratios."""
    runs = [seen(RESIDENT, TRUE), seen(FIRST_HALF, TRUE)]
    before = of_runs(*runs)
    plan = plan_of(RESIDENT)
    problem = build_problem(MODEL, before.applied(HARDWARE), context=CONTEXT)
    under = replace(plan, problem=problem, prediction=evaluate(problem, RESIDENT))
    again = observed(played(RESIDENT, TRUE), under, MODEL, HARDWARE, before)
    assert again is not None and ratios(again) == pytest.approx(ratios(runs[0]))
    assert again.calibrated_seconds > again.predicted_seconds == runs[0].predicted_seconds


def test_the_spread_is_what_a_new_placement_sees() -> None:
    """Each placement is checked by a fit without it, so one that breaks the rule of the others widens the band."""
    alike = [seen(p, TRUE) for p in (RESIDENT, FIRST_HALF, placed(set(NAMES[::4])))]
    odd = [replace(one, measured_seconds=one.measured_seconds * 1.6) for one in alike[:2]]
    narrow, wide = of_runs(*alike * 3), of_runs(*odd, *alike[2:])
    assert LEAST_SPREAD <= narrow.spread < PRIOR_SPREAD < wide.spread
    assert len(narrow.checked) == 3
    own = next(one for one in narrow.checked if one.observation.placement == alike[0].placement)
    left = fitted_factors([one for one in alike * 3 if one.placement != alike[0].placement])
    assert own.calibrated_seconds == pytest.approx(
        pass_seconds(MODEL, corrected(HARDWARE, left), RESIDENT, alike[0].context, 2)
    )


def test_one_disturbed_run_does_not_widen_the_band() -> None:
    """Of each placement a typical run is checked, so the last one, beside which other work ran, changes nothing."""
    runs = [seen(RESIDENT, TRUE), seen(FIRST_HALF, TRUE)] * 4
    slow = replace(runs[0], measured_seconds=4 * runs[0].measured_seconds)
    assert of_runs(*runs, slow).spread == pytest.approx(of_runs(*runs).spread, rel=0.05)


def test_without_runs_the_usual_spread_is_told() -> None:
    """A machine without a log has a band, and other models' runs widen it without correcting a price."""
    assert of_runs() == Calibration(model_key(MODEL), spread=PRIOR_SPREAD)
    others = [replace(seen(RESIDENT, {"pass": 4.0}), model="another 12345678")] * 4
    found = of_runs(*others)
    assert not found.factors and found.spread > PRIOR_SPREAD


def test_the_order_of_runs_does_not_matter_to_the_hand_over() -> None:
    """A streamed run that came before the price of a pass was known is read again with it."""
    streamed, quiet = seen(placed(set(NAMES[::4])), TRUE), seen(RESIDENT, TRUE)
    alone = fitted_factors([streamed] * 8)["handover cpu"]
    assert fitted_factors([streamed] * 8 + [quiet] * 8)["handover cpu"] == pytest.approx(1.8, rel=0.1) != alone


@pytest.mark.parametrize(
    "spoil",
    [
        lambda events: events[:7],  # six tokens
        lambda events: [*events, PlacementChanged(1.0, ("head",))],
        lambda events: [*events, StageRestarted(1.0, "it died", 3)],
        lambda events: [event for event in events if not getattr(event, "computes", ())],
    ],
)
def test_a_run_that_was_short_or_not_left_alone_says_nothing(spoil) -> None:
    """Such runs make no observation."""
    assert observed(spoil(played(RESIDENT, TRUE)), plan_of(RESIDENT), MODEL, HARDWARE, UNKNOWN) is None


def test_the_first_tokens_do_not_count() -> None:
    """A slow start changes nothing of what is observed."""
    events = played(RESIDENT, TRUE)
    late = [replace(e, step_seconds=9.0) if getattr(e, "index", 9) < 3 else e for e in events]
    one, other = (observed(e, plan_of(RESIDENT), MODEL, HARDWARE, UNKNOWN) for e in (events, late))
    assert one is not None and other is not None
    assert replace(one, date="") == replace(other, date="")


def test_corrected_prices_reach_every_prediction_with_their_band() -> None:
    """Evaluate, what_if and the summary are made with the corrected profile, and the raw one is untouched."""
    calibration = Calibration("toy", TRUE, spread=0.07, runs=3)
    hardware: HardwareProfile = calibration.applied(HARDWARE)
    assert HARDWARE.spread == 0.0 and not HARDWARE.device("cpu").precision_factors
    plan = replace(plan_of(FIRST_HALF), problem=build_problem(MODEL, hardware, context=CONTEXT))
    plan = replace(plan, prediction=evaluate(plan.problem, FIRST_HALF))
    assert plan.prediction.tpot_seconds == pytest.approx(pass_seconds(MODEL, hardware, FIRST_HALF, CONTEXT, 2))
    low, high = plan.what_if({"head": "cpu disk bf16"}).prediction.band
    assert low < high and high / low == pytest.approx(2.718281828 ** (4 * 0.07))
    assert " expected (" in plan.summary()


def test_a_checked_placement_tells_its_error() -> None:
    """Predicted twice as fast as measured is an error of +100 %."""
    one = seen(RESIDENT, {})
    assert Checked(one, one.measured_seconds / 2).error == pytest.approx(1.0)


def test_a_corrected_plan_is_read_from_its_file_with_its_prices(tmp_path: Path) -> None:
    """Factors and spread are part of the problem, so a saved plan predicts the same on another machine."""
    hardware = Calibration("toy", TRUE, spread=0.07).applied(HARDWARE)
    plan = replace(plan_of(FIRST_HALF), problem=build_problem(MODEL, hardware, context=CONTEXT))
    plan = replace(plan, prediction=evaluate(plan.problem, FIRST_HALF))
    plan.save(tmp_path / "plan.json")
    again = PlanResult.load(tmp_path / "plan.json")
    assert again.prediction == plan.prediction and again.problem == plan.problem
    text = (tmp_path / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(text.replace('"bf16": 1.4', '"bf16": 0'))
    with pytest.raises(PlanError, match="factor of 0"):
        PlanResult.load(tmp_path / "plan.json")
