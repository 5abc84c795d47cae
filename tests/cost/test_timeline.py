"""The predicted timeline is the cost model's own walk, and the measured one keeps what the engine recorded."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from llmdist.bench.random_problems import random_problem, rich_problem
from llmdist.cost.reference import tpot_seconds
from llmdist.cost.timeline import Span, measured_timeline, predicted_timeline
from llmdist.events import BlockComputed, CopyFinished, TokenProduced
from llmdist.planner.baselines import random_choices
from llmdist.planner.placement import Placement
from llmdist.planner.tables import cost_tables

CPU_ONLY = [seed for seed in range(30) if len(random_problem(seed, blocks=9).devices) == 2][:8]


@pytest.mark.parametrize("seed", CPU_ONLY)
def test_a_predicted_token_lasts_as_long_as_the_cost_model_says(seed: int) -> None:
    """On one executing device the walk's period is the predicted time per token."""
    problem = random_problem(seed, blocks=9)
    tables = cost_tables(problem)
    for choice in random_choices(tables, 6, np.random.default_rng(seed)):
        placement = tables.placement(choice)
        found = predicted_timeline(problem, placement)
        assert found.seconds == pytest.approx(tpot_seconds(problem, placement), rel=1e-6)
        ends = [span.end_seconds for span in found.spans if span.kind == "compute"]
        assert len(ends) == 9 and ends[-1] == pytest.approx(found.seconds - problem.pass_seconds)


@pytest.mark.parametrize("seed", range(10))
def test_lanes_do_one_thing_at_a_time_and_computes_wait_for_their_copies(seed: int) -> None:
    """Spans of a lane never overlap; a streamed block computes after its copy; waits fill the gaps."""
    problem = random_problem(seed, blocks=10)
    tables = cost_tables(problem)
    placement = tables.placement(random_choices(tables, 1, np.random.default_rng(seed))[0])
    found = predicted_timeline(problem, placement)
    for lane in found.lanes:
        spans = sorted((s for s in found.spans if s.lane == lane), key=lambda s: s.start_seconds)
        assert all(a.end_seconds <= b.start_seconds + 1e-12 for a, b in pairwise(spans))
    computed = {s.block: s for s in found.spans if s.kind == "compute"}
    copied = {s.block: s for s in found.spans if s.kind == "copy"}
    assert set(copied) == {name for name, choice in placement.items() if choice.mode == "streamed"}
    assert all(copied[name].end_seconds <= computed[name].start_seconds + 1e-12 for name in copied)


def test_a_measured_token_starts_at_its_first_compute() -> None:
    """Copies that ran ahead have negative times, and the gap before a streamed block is a wait."""
    copies = (CopyFinished("b", 9.5, 10.5, 100, 0),)
    computes = (BlockComputed("a", 10.0, 10.25, "cpu"), BlockComputed("b", 10.5, 11.0, "cpu"))
    found = measured_timeline(TokenProduced(3, 1, "", 11.0, 1.0, 100, {}, copies, computes))
    assert found.seconds == 1.0 and found.waiting_seconds() == 0.25
    assert Span("b", "copy cpu", "copy", -0.5, 0.5) in found.spans
    assert found.lanes == ("cpu", "copy cpu")


@pytest.mark.parametrize("price", [0.0, 4e-4])
def test_the_price_of_a_pass_is_no_wait_for_weights(price: float) -> None:
    """It ends where the token's first block begins, on the device that computes it; with all resident nothing waits."""
    problem = rich_problem(1)
    problem = replace(problem, devices=tuple(replace(device, pass_seconds=price) for device in problem.devices))
    rows = [[option for option in problem.options(block) if option.exec_device == "cpu"] for block in problem.blocks]
    chosen = tuple(next(option for option in row if option.mode == "resident") for row in rows)
    found = predicted_timeline(problem, Placement(tuple(block.name for block in problem.blocks), chosen))
    prices = [span for span in found.spans if span.kind == "pass"]
    assert [(one.lane, one.block, one.end_seconds) for one in prices] == [("cpu", "embed", 0.0)] * (price > 0)
    assert found.pass_seconds() == pytest.approx(price) and found.waiting_seconds() == 0
    assert min(span.start_seconds for span in found.spans if span.kind == "compute") == 0
