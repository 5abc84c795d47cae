"""The rivals under one record: each finds plans that fit, the colony is never worse; and the benchmark's rows."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from llmdist.bench import planner as benchmark
from llmdist.bench._planner_suite import SUITE
from llmdist.errors import PlanError
from llmdist.planner import MaxIterations, solve, violations
from llmdist.planner.rivals import RIVALS, Record, random_fitting
from llmdist.planner.tables import cost_tables

PROBLEM = SUITE["7b-laptop-bf16-plain"]()
TABLES = cost_tables(PROBLEM)


@pytest.fixture(scope="module")
def plan() -> float:
    """The colony's objective after few iterations."""
    return solve(PROBLEM, stop=MaxIterations(30)).objective_seconds


@pytest.mark.parametrize("name", sorted(RIVALS))
def test_a_rival_finds_a_plan_that_fits_and_does_not_beat_the_colony(name: str, plan: float) -> None:
    """Under a clock that counts calls, and within 0.1 %: the colony had few iterations."""
    if name == "nsga2":
        pytest.importorskip("pymoo")
    ticks = count()
    record = Record(TABLES, 60.0, lambda: float(next(ticks)))
    RIVALS[name][0](record, 1)
    assert record.best is not None and record.evaluations > 0
    assert violations(PROBLEM, TABLES.placement(record.best)) == []
    assert record.value >= plan * 0.999
    assert [value for _, value in record.trace] == sorted((v for _, v in record.trace), reverse=True)


def test_random_placements_mostly_fit() -> None:
    """The common start of the searching rivals respects memory, slots aside."""
    from llmdist.cost.vectorised import Batch

    choices = random_fitting(TABLES, 64, np.random.default_rng(0))
    assert (Batch(TABLES, choices).over == 0).mean() > 0.3


def test_gaps_are_fractions_of_the_best_plan_and_bound() -> None:
    """On one problem the best run has gap 0, a run without a plan has none, seconds are until within 1 %."""
    runs = [
        {"problem": "p", "method": "colony", "seed": 0, "objective": 1.0, "bound": 0.8, "evaluations": 5,
         "trace": [[0.1, 2.0], [0.4, 1.005], [0.9, 1.0]]},
        {"problem": "p", "method": "greedy", "seed": 0, "objective": 1.5, "bound": 0.0, "evaluations": 1,
         "trace": [[0.0, 1.5]]},
        {"problem": "p", "method": "random", "seed": 0, "objective": None, "bound": 0.0, "evaluations": 9, "trace": []},
    ]  # fmt: skip
    rows = benchmark.gaps(runs)
    assert rows[0] == {"problem": "p", "method": "colony", "seed": 0, "gap_to_best": 0.0, "gap_to_bound": 0.25,
                       "seconds_to_1_percent": 0.4, "evaluations": 5}  # fmt: skip
    assert rows[1]["gap_to_best"] == 0.5 and rows[1]["seconds_to_1_percent"] is None
    assert rows[2]["gap_to_best"] is None
    table = benchmark.summary(rows)
    assert "| greedy | 50.00 %" in table and "| random | none" in table
    assert "| p | 0.00 % | 0.00 % | 25.00 % | greedy | 50.00 % | 50.00 % |" in benchmark.by_problem(rows)
    assert benchmark.beaten(rows) == []
    assert benchmark.beaten(benchmark.gaps([{**runs[0], "objective": 2.0}, runs[1]])) != []


def test_the_command_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A finished run is not run again, and the file holds a row per run."""
    path = tmp_path / "runs.json"
    options = ["--json", str(path), "--problems", "7b-t4*", "--methods", "greedy,flexgen", "--jobs", "1"]
    assert benchmark.main(options) == 0
    before = json.loads(path.read_text())
    assert benchmark.main(options) == 0
    assert json.loads(path.read_text())["runs"] == before["runs"] and len(before["rows"]) == 2
    assert "| greedy |" in capsys.readouterr().out
    with pytest.raises(PlanError, match="oracle"):
        benchmark.main(["--methods", "oracle"])


def test_the_suite_holds_at_least_24_problems() -> None:
    """Every problem of the suite is valid and of the size that its name says."""
    assert len(SUITE) >= 24
    assert all(len(make().blocks) > 60 for make in SUITE.values())
