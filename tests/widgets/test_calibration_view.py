"""The calibration plot: a function of the fit, readable as text, right on both axes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llmdist.calibration import Calibration, Observation, fit, model_key, observed
from llmdist_widgets.calibration import LEFT, RIGHT, TOP, UNDER, calibration_html, calibration_svg, log_ticks

sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))
from played import HARDWARE, MODEL, placed, plan_of, played

TRUE = {"compute cpu bf16": 1.4, "handover cpu": 1.8, "pass": 2.0}


def runs() -> list[Observation]:
    """Return generations under four placements of a machine slower than measured."""
    names = [block.name for block in MODEL.blocks if block.name != "embed"]
    found = []
    for placement in (placed(set()), placed({"head"}), placed(set(names[:3:2])), placed(set(names[:6:2]))):
        one = observed(played(placement, TRUE), plan_of(placement), MODEL, HARDWARE, Calibration(model_key(MODEL)))
        assert one is not None
        found.append(one)
    return found


def test_every_placement_is_a_hollow_and_a_filled_point_inside_the_frame() -> None:
    """Two points per placement on one height, and two in the legend; the filled ones lie nearer the diagonal."""
    calibration = fit(runs(), MODEL, HARDWARE)
    svg = calibration_svg(calibration)
    ElementTree.fromstring(svg)
    dots = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="5" class="(\w+)', svg)
    inside = [(float(x), float(y), kind) for x, y, kind in dots if float(x) <= RIGHT]
    assert len(inside) == 2 * 4 and len(dots) == len(inside) + 2
    assert all(x >= LEFT and TOP <= y <= UNDER for x, y, _ in inside)

    def off(kind: str) -> float:
        scale = (RIGHT - LEFT) / (UNDER - TOP)
        return sum(abs((x - LEFT) - (UNDER - y) * scale) for x, y, k in inside if k == kind)

    assert off("bestt") < 0.5 * off("bg")


def test_the_view_says_the_same_as_text_and_is_small() -> None:
    """The log stands under the picture and is its alternative text."""
    seen = runs()
    html = calibration_html(fit(seen, MODEL, HARDWARE), seen)
    assert html.count("price of a pass x") == 2 and len(html) < 40_000


def test_one_placement_has_nothing_to_be_checked_with() -> None:
    """It is drawn as it was predicted at first, and the legend says why there is no other point."""
    svg = calibration_svg(fit(runs()[:1], MODEL, HARDWARE))
    assert svg.count("<circle") == 1 + 2 and "checked from the second placement on" in svg


def test_without_runs_there_is_a_sentence_and_no_picture() -> None:
    """An empty log draws nothing; the picture alone says what to do."""
    empty = Calibration("toy 1")
    assert "<img" not in calibration_html(empty, ()) and "No run of toy" in calibration_html(empty, ())
    assert "generate 8 tokens" in calibration_svg(empty)


@pytest.mark.parametrize("low, high", [(60, 1100), (0.9, 14), (9.1, 9.9), (1e-3, 1e5), (83, 131)])
def test_logarithmic_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    """A narrow range has at least one tick, a wide one at most eight."""
    ticks = log_ticks(low, high)
    assert 1 <= len(ticks) <= 8 and all(low <= tick <= high for tick in ticks) and ticks == sorted(set(ticks))


def test_the_log_scrolls_within_itself_and_its_sentence_wraps() -> None:
    """In a narrow cell a row of the log stays one row; the sentence below it is a paragraph."""
    seen = runs()
    html = calibration_html(fit(seen, MODEL, HARDWARE), seen)
    log = re.search(r'<pre style="([^"]+)">(.*?)</pre><div[^>]*>(.*?)</div>', html, re.DOTALL)
    assert log and "overflow-x:auto" in log[1] and "white-space:pre;" in log[1]
    assert len(log[2].splitlines()) == 5 and log[2].splitlines()[0].endswith("error")
    assert log[3].startswith("4 runs of toy corrected")
