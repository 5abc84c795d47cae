"""The log of predictions on disk: of one machine and engine, short, and never in the way."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llmdist.calibration import Calibration, CalibrationLog, Observation, log_words, model_key, observed
from llmdist.calibration.log import LONGEST, log_key

sys.path.insert(0, str(Path(__file__).parent))
from played import HARDWARE, MODEL, placed, plan_of, played

KEY = log_key(HARDWARE, "1.0")


@pytest.fixture(scope="module")
def run() -> Observation:
    """One observation of a toy model."""
    placement = placed({"head", "layers.1.mlp"})
    found = observed(played(placement, {}), plan_of(placement), MODEL, HARDWARE, Calibration(model_key(MODEL)))
    assert found is not None
    return found


def test_what_was_written_is_read_again_one_run_per_line(run: Observation, tmp_path: Path) -> None:
    """Saving and loading gives equal observations, their placement included, and one more run is one more line."""
    path = tmp_path / "log.json"
    log = CalibrationLog(KEY, path)
    log.add(run)
    lines = len(path.read_text().splitlines())
    log.add(replace(run, date="2026-11-28T10:00+00:00"))
    assert len(path.read_text().splitlines()) == lines + 1
    again = CalibrationLog(KEY, path)
    assert again.observations == log.observations and again.observations[0] == run
    names = tuple(block.name for block in MODEL.blocks)
    assert again.observations[0].assignments(names) == placed({"head", "layers.1.mlp"})


def test_the_log_stays_short(run: Observation, tmp_path: Path) -> None:
    """Only the latest runs are kept."""
    log = CalibrationLog(KEY, tmp_path / "log.json")
    for index in range(LONGEST + 3):
        log.add(replace(run, tokens=100 + index))
    kept = CalibrationLog(KEY, log.path).observations
    assert len(kept) == LONGEST and kept[-1].tokens == 100 + LONGEST + 2


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"key": KEY}', '{"key": KEY, "runs": [3]}', '{"key": KEY, "runs": [{"date": "x"}]}',
     '{"key": KEY, "runs": {"a": 1}}'],
)  # fmt: skip
def test_a_damaged_file_is_left_out_with_one_sentence(run: Observation, tmp_path: Path, text: str) -> None:
    """Nothing is raised; the note says so, and the next run replaces the file."""
    path = tmp_path / "log.json"
    path.write_text(text.replace("KEY", json.dumps(KEY)))
    log = CalibrationLog(KEY, path)
    assert log.observations == () and "cannot be read" in log.note and log.note.endswith(".")
    log.add(run)
    assert CalibrationLog(KEY, path).observations == (run,)


@pytest.mark.parametrize("field", ["measured_seconds", "predicted_seconds", "told_tokens_per_second"])
def test_a_run_of_no_seconds_is_refused(run: Observation, field: str) -> None:
    """Zero or negative seconds in a file make it a damaged one."""
    with pytest.raises(ValueError, match="above 0"):
        Observation.from_json({**run.to_json(), field: 0.0})


@pytest.mark.parametrize(
    "other",
    [
        log_key(replace(HARDWARE, machine="there"), "1.0"),
        log_key(HARDWARE, "1.1"),
        log_key(replace(HARDWARE, devices=(replace(HARDWARE.devices[0], bandwidth=9e9), HARDWARE.devices[1])), "1.0"),
    ],
    ids=["machine", "engine", "measured anew"],
)
def test_another_machines_or_engines_log_does_not_apply(run: Observation, tmp_path: Path, other: dict) -> None:
    """A file with another key is none of ours, even under our name."""
    path = tmp_path / "log.json"
    CalibrationLog(other, path).add(run)
    assert CalibrationLog(KEY, path).observations == ()


def test_free_memory_does_not_change_the_key() -> None:
    """The key is of rates; memory is probed anew at every load."""
    now = replace(HARDWARE, devices=tuple(replace(d, free_bytes=1, label="x") for d in HARDWARE.devices), date="later")
    assert log_key(now, "1.0") == KEY


def test_two_processes_keep_each_others_runs(run: Observation, tmp_path: Path) -> None:
    """A log reads what others wrote before it appends."""
    one, other = (CalibrationLog(KEY, tmp_path / "log.json") for _ in range(2))
    one.add(replace(run, tokens=30))
    other.add(replace(run, tokens=40))
    assert [seen.tokens for seen in CalibrationLog(KEY, tmp_path / "log.json").observations] == [30, 40]


def test_rates_that_were_not_kept_leave_no_file(run: Observation) -> None:
    """Simulated machines and rates measured beside other work write nothing."""
    for hardware in (replace(HARDWARE, source="simulated"), replace(HARDWARE, note="beside other work")):
        log = CalibrationLog.of(hardware, "1.0")
        log.add(run)
        assert log.path is None and log.observations == (run,)


def test_forgetting_is_by_model(run: Observation, tmp_path: Path) -> None:
    """What another model taught stays."""
    log = CalibrationLog(KEY, tmp_path / "log.json")
    log.add(run)
    log.add(replace(run, model="other 00000000"))
    assert log.forget(run.model) == 1
    assert [seen.model for seen in CalibrationLog(KEY, log.path).observations] == ["other 00000000"]


def test_the_log_as_text_has_prediction_band_measurement_and_error(run: Observation) -> None:
    """A row per run, the latest last, then what was corrected in one sentence."""
    told = replace(run, told_tokens_per_second=100.0, told_spread=0.1, measured_seconds=0.0125)
    words = log_words([run] * 9 + [told], Calibration("toy 1", {"pass": 1.5}, 0.08, runs=10))
    lines = words.splitlines()
    assert len(lines) == 8 and "median" in lines[-2]
    assert lines[0].split() == ["run", "predicted", "expected", "measured", "error"]
    assert "100 tokens/s" in lines[-3] and "81.87 to 122.1" in lines[-3] and lines[-3].endswith("+25%")
    assert lines[-1] == "10 runs of toy corrected price of a pass x 1.50; measured speeds spread by 8%."


@pytest.mark.parametrize(("measured", "error"), [(0.00998, "0%"), (0.01002, "0%"), (0.0094, "-6%")])
def test_an_error_that_rounds_to_nothing_has_no_sign(run: Observation, measured: float, error: str) -> None:
    """Neither -0% nor +0%."""
    told = replace(run, told_tokens_per_second=100.0, measured_seconds=measured)
    assert log_words([told], Calibration("toy 1")).splitlines()[1].split()[-1] == error
