"""The picture of a Pareto front: every number can be read, and the legend names only what is drawn."""

from __future__ import annotations

import random
import re
import sys
from dataclasses import replace
from itertools import combinations
from math import dist
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llmdist.planner import FrontPlan, ParetoFront
from llmdist_widgets.front import DISC, DOT, LEFT, RIGHT, TOP, UNDER, apart, front_html, front_svg

sys.path.insert(0, str(Path(__file__).parent))
from synthetic import GIB, make_plan


def front_of(points: list[tuple[float, float]], simulated: bool = False) -> ParetoFront:
    """Return a made-up front of (tokens/s, GiB)."""
    plan, _ = make_plan(3)
    plans = tuple(
        FrontPlan(replace(plan, prediction=replace(plan.prediction, tokens_per_second=speed), simulated=simulated,
                          machine="four-1g" if simulated else ""), 1 / speed, int(size * GIB), k / len(points))
        for k, (speed, size) in enumerate(points)
    )  # fmt: skip
    return ParetoFront(plan.problem, plans)


@pytest.mark.parametrize("seed", range(20))
def test_no_disc_hides_another_or_a_point(seed: int) -> None:
    """Of twenty points, most of them in three heaps, every number and every true place stays in sight."""
    rng = random.Random(seed)
    heaps = [(rng.uniform(LEFT + 20, RIGHT - 20), rng.uniform(TOP + 20, UNDER - 20)) for _ in range(3)]
    points = [(x + rng.gauss(0, 9), y + rng.gauss(0, 9)) for x, y in heaps for _ in range(5)]
    points = [(min(max(x, LEFT + 14), RIGHT - 14), min(max(y, TOP + 14), UNDER - 14)) for x, y in points]
    points += [(rng.uniform(LEFT + 20, RIGHT - 20), rng.uniform(TOP + 20, UNDER - 20)) for _ in range(5)]
    discs = apart(points)
    assert all(dist(a, b) >= 2 * DISC - 2 for a, b in combinations(discs, 2))
    moved = [point for point, disc in zip(points, discs, strict=True) if point != disc]
    assert all(dist(disc, dot) > DISC + DOT for disc in discs for dot in moved)
    assert all(LEFT < x < RIGHT and TOP - 1 < y < UNDER for x, y in discs)


def test_points_that_are_far_apart_stay_where_they_are() -> None:
    """Their discs carry the numbers as before."""
    points = [(200.0, 100.0), (300.0, 120.0), (325.0, 120.0)]
    assert apart(points) == points


def test_near_plans_have_a_dot_a_leader_and_a_number_beside() -> None:
    """Three plans at nearly one place: three lines and dots, each group ends in its disc and number."""
    svg = front_svg(front_of([(30.0, 4.0), (20.0, 2.0), (19.9, 2.0), (19.8, 1.99)]))
    ElementTree.fromstring(svg)
    groups = re.findall(r'<g data-plan="(\d+)">(.*?)</g>', svg)
    assert {number: group.count("<circle") for number, group in groups} == {"4": 2, "3": 2, "2": 2, "1": 1}


def test_the_legend_and_the_words_of_a_simulated_front_promise_no_plan_in_force() -> None:
    """A mark is explained only where it is drawn."""
    real, simulated = (front_of([(30.0, 4.0), (20.0, 2.0)], one) for one in (False, True))
    assert "plan in force" in front_svg(real, real[1].plan) and "plan in force" not in front_svg(simulated)
    assert "nothing is put in force" in front_html(simulated) and "--pick N takes" in front_html(real)
    assert '<div style="overflow-x:auto"><table' in front_html(real)
