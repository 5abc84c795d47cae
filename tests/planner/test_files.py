"""Plan and placement files: small, diffable, and refused with every mistake named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmdist.bench.random_problems import random_problem
from llmdist.errors import LlmdistError, PlanError
from llmdist.planner import Assignment, MaxIterations, PlanResult, plan_for, solve
from llmdist.planner.files import load_placement, problem_from_json, save_placement

PLAN = solve(random_problem(2, 8), stop=MaxIterations(3))


def written(folder: Path, data: Any) -> Path:
    """Return a file that holds `data` as JSON (NaN and infinity included)."""
    path = folder / "plan.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def saved(folder: Path) -> dict[str, Any]:
    """Return the JSON of a good plan file."""
    PLAN.save(folder / "good.json")
    return json.loads((folder / "good.json").read_text())


def test_a_plan_file_is_small_and_has_one_line_per_block(tmp_path: Path) -> None:
    """82 blocks take less than 20 KB, and moving one block changes one line of the placement."""
    plan = plan_for("llama-2-13b", "h200", stop=MaxIterations(1))
    plan.save(tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    assert len(text) < 20_000 and text.count('"shapes"') == 1 and '[40, "attention mlp"]' in text
    moved = plan.placement.moved({"layers.3.mlp": Assignment("cpu", "disk", "fp16")})
    for name, placement in (("p.json", plan.placement), ("q.json", moved)):
        save_placement(placement, tmp_path / name)
    lines = [(tmp_path / name).read_text().splitlines() for name in ("p.json", "q.json")]
    assert len(lines[0]) == len(plan.placement.blocks) + 2
    assert sum(a != b for a, b in zip(*lines, strict=True)) == 1
    assert load_placement(tmp_path / "q.json", plan.problem) == moved
    assert PlanResult.load(tmp_path / "a.json").simulated


def test_every_mistake_of_a_plan_file_is_named_in_one_message(tmp_path: Path) -> None:
    """Numbers, names, links and placement are all checked before anything is refused."""
    data = saved(tmp_path)
    problem = data["problem"]
    problem["devices"][0]["bandwidth"] = float("nan")
    problem["devices"][0]["memory_bytes"] = True
    problem["links"][0]["bandwidth"] = -3
    problem["links"].append({"source": "cpu", "target": "cpu", "bandwidth": 1e9, "latency_seconds": 0})
    problem["links"].append({"source": "moon", "target": "cpu", "bandwidth": float("inf"), "latency_seconds": 0})
    problem["slots"] = 10**30
    problem["caps"]["attic"] = 5
    data["placement"]["layers.0.mlp"] = "cpu"
    data["seed"] = "seven"
    with pytest.raises(PlanError) as caught:
        PlanResult.load(written(tmp_path, data))
    text = str(caught.value)
    for words in ("bandwidth is nan", "memory_bytes is True", "bandwidth is -3, below 0", "cpu>cpu leads to itself",
                  "moon>cpu joins an unknown device", "bandwidth is inf", "slots is a number of more than 20 digits",
                  "unknown device attic", "layers.0.mlp has 'cpu' where", "seed is 'seven'"):  # fmt: skip
        assert words in text, words
    assert "\n" not in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not complete JSON"),
        ('{"format": "llmdist plan 1", "placement": {"embed":', "not complete JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"format": 7}', "does not say"),
        ("[]", "does not say"),
        ('{"format": "llmdist plan 1", "seed": ' + "9" * 10_000 + "}", "not complete JSON|not valid"),
        ('{"format": "llmdist plan 1", "placement": {"a": "x y z", "a": "x y z"}}', "twice"),
    ],
)
def test_a_file_that_is_no_plan_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    """Cut off, nested, foreign and doubled files are PlanErrors."""
    with pytest.raises(PlanError, match=words):
        PlanResult.load(written(tmp_path, text))
    with pytest.raises(PlanError, match="cannot be read"):
        PlanResult.load(tmp_path / "missing.json")


def test_a_plan_for_another_model_or_machine_says_so(tmp_path: Path) -> None:
    """One block less, and a device that is not there, are both named."""
    data = saved(tmp_path)
    data["placement"].popitem()
    with pytest.raises(PlanError, match="another model"):
        PlanResult.load(written(tmp_path, data))
    other = solve(random_problem(2, 9), stop=MaxIterations(1))
    save_placement(other.placement, tmp_path / "other.json")
    with pytest.raises(PlanError, match="another model"):
        load_placement(tmp_path / "other.json", PLAN.problem)
    strange = dict.fromkeys(PLAN.placement.blocks, "tpu:0 disk bf16")
    with pytest.raises(PlanError, match=r"unknown device tpu:0.*unknown device tpu:0"):
        load_placement(written(tmp_path, strange), PLAN.problem)


def test_a_cycle_of_links_is_no_mistake_and_ends() -> None:
    """Links both ways are what machines have; the search over them terminates."""
    data = random_problem(4).to_json()
    pairs = {(link["source"], link["target"]) for link in data["links"]}
    names = [device["name"] for device in data["devices"] if device["kind"] != "disk"]
    data["links"] = [*data["links"], *(
        {"source": s, "target": t, "bandwidth": 1e10, "latency_seconds": 0.0}
        for s in names for t in names if s != t and (s, t) not in pairs
    )]  # fmt: skip
    assert solve(problem_from_json(data), stop=MaxIterations(1)).objective_seconds > 0


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, item in inner for deeper in _paths(item, (*path, key)))]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(picks=st.lists(st.tuples(st.integers(0, 10**6), JUNK), min_size=1, max_size=3))
def test_junk_anywhere_in_a_plan_file_never_gives_more_than_a_plan_error(
    tmp_path: Path, picks: list[tuple[int, Any]]
) -> None:
    """Any value replaced by anything either loads or raises PlanError, never another exception."""
    data = saved(tmp_path)
    for pick, junk in picks:
        paths = [path for path in _paths(data) if path]
        *above, last = paths[pick % len(paths)]
        place = data
        for key in above:
            place = place[key]
        place[last] = copy.deepcopy(junk)
    try:
        plan = PlanResult.load(written(tmp_path, data))
    except LlmdistError as error:
        assert isinstance(error, PlanError)
    else:
        assert plan.prediction.tokens_per_second >= 0
