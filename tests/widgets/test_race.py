"""The planner's benchmark as pictures: what is drawn is what the runs say, and a wrong file gets one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from llmdist_widgets.race import ablation_picture, main, race_picture


def run(method: str, trace: list[list[float]], problem: str = "one", seed: int = 0) -> dict[str, Any]:
    """Return a run as the benchmark writes it."""
    objective = min((value for _, value in trace), default=None)
    return {"problem": problem, "method": method, "seed": seed, "seconds": 2.0, "objective": objective, "trace": trace}


RUNS = {"runs": [
    run("greedy", [[0.01, 3.0]]), run("colony", [[0.1, 2.0], [0.5, 1.0]]), run("slow", [[1.5, 1.1]]), run("lost", []),
    run("greedy", [[0.01, 8.0]], "two"), run("colony", [[0.1, 4.0]], "two"), run("slow", [[1.9, 4.0]], "two"),
]}  # fmt: skip


def heights(svg: str, colour: str) -> list[float]:
    """Return the heights along the first path of `colour`."""
    path = re.search(rf'<path d="([^"]+)" fill="none" stroke="{colour}"', svg)
    assert path is not None
    return [float(point.split()[1]) for point in re.split("[ML]", path[1])[1:]]


def test_a_race_falls_with_every_better_plan_and_ends_at_the_gap() -> None:
    """The colony's curve has its two plans; words give every method that found one, the best first."""
    picture = race_picture(RUNS, "one")
    ElementTree.fromstring(picture.svg)
    assert picture.words.endswith("after 2 s: colony 0.00 %; slow 10 %; greedy 200 %.")
    assert len(set(heights(picture.svg, "#0072B2"))) == 2
    assert heights(picture.svg, "#0072B2")[0] < heights(picture.svg, "#0072B2")[-1]


def test_all_problems_together_count_their_medians() -> None:
    """Greedy is 200 % and 100 % behind, so 150 % in the middle."""
    assert "greedy 150 %" in race_picture(RUNS).words and "2 problems" in race_picture(RUNS).words


def test_an_ablation_orders_parts_by_what_is_lost_without_them() -> None:
    """The longest bar is the part that the colony misses most."""
    parts = {"runs": [run("colony", [[1, 1.0]]), run("no tree", [[1, 1.5]]), run("no luck", [[1, 1.01]])]}
    assert ablation_picture(parts).words.endswith(
        "no tree 50 %, 1 runs; no luck 1.00 %, 1 runs; the whole colony 0.00 %, 1 runs."
    )


def test_the_command_writes_a_picture_or_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is none, is not there, or a problem that it does not hold ends in one sentence."""
    file = tmp_path / "runs.json"
    file.write_text(json.dumps(RUNS))
    assert main([str(file)]) == 0 and file.with_suffix(".svg").read_text().startswith("<svg")
    capsys.readouterr()
    assert main([str(file), "--problem", "three"]) == 2
    assert "'three' has no runs in this file: it holds one, two." in capsys.readouterr().err
    file.write_text("[]")
    assert main([str(file)]) == 2 and main([str(tmp_path / "none.json")]) == 2
    assert all(line.count("gives no picture") == 1 for line in capsys.readouterr().err.splitlines())
