"""Lesson 8: the simulator keeps its books, the check tells the side, and what the lesson says in words holds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from xml.etree import ElementTree

import pytest

import llmdist
from llmdist.errors import PlanError
from llmdist.lessons import many_machines, serving
from llmdist.lessons.serving_inputs import Request, Server, StepCost, requests
from llmdist.lessons.serving_simulator import Run, simulate
from llmdist.planner import PlanResult
from llmdist_widgets import serving as show

COST = StepCost(1e-3, 1e-4, 0.0, 1e-4)
STEP = COST.seconds(4)


@pytest.fixture(scope="module")
def session() -> Iterator[llmdist.Session]:
    """The demo model, inline."""
    session = llmdist.load("demo", isolate=False)
    session.plan(context=128, batch=4, seconds=0.2)
    yield session
    session.unload()


@pytest.fixture(scope="module")
def case() -> serving.Case:
    """Llama 2 13B on an RTX 4090, as in the lesson."""
    return serving.case()


@pytest.fixture(scope="module")
def spread() -> PlanResult:
    """The plan for four sequences in flight over four computers."""
    return many_machines.placed(in_flight=4)


def mean_latency(run: Run) -> float:
    """Return the mean seconds from arrival to the last token."""
    return sum(served.latency for served in run.served) / len(run.served)


@pytest.mark.parametrize("page", [16, 256, 2048])
def test_every_request_is_answered_and_the_cache_is_never_exceeded(page: int) -> None:
    """Under a tight cache, sequences are sent back, but each request makes all its tokens within what there is."""
    asked = requests(60, 500, seed=1)
    run = simulate(asked, COST, Server(64, cache_tokens=4100, page=page))
    assert tuple(served.request for served in run.served) == asked
    assert all(s.request.arrival <= s.start < s.end == s.freed for s in run.served)
    assert max(memory.held for memory in run.memory) <= 4100
    assert all(memory.used <= memory.held for memory in run.memory)
    assert (run.sent_back > 0) == (page < 2048)


def test_one_request_takes_its_prompt_and_one_step_per_token() -> None:
    """Without others the clock is a sum that can be done by hand."""
    cost = StepCost(1.0, 0.5, 0.01, 0.1)
    run = simulate([Request(3.0, 10, 3)], cost, Server(1, page=2048))
    assert run.served[0].end == pytest.approx(3.0 + (1.5 + 10 * 0.1) + (1.5 + 11 * 0.01) + (1.5 + 12 * 0.01))


def test_iteration_level_batching_keeps_no_place_and_answers_sooner() -> None:
    """The lesson's two pictures: no orange and less waiting; with few requests the two come closer."""
    times = []
    for rate in (0.1 / STEP, 0.02 / STEP):
        asked = requests(16, rate, seed=1, prompt=8, new=40)
        static, level = (simulate(asked, COST, Server(4, iteration_level=on)) for on in (False, True))
        assert all(s.freed == s.end for s in level.served)
        times.append(mean_latency(static) / mean_latency(level))
    assert any(s.freed > s.end for s in static.served)
    assert times[0] > 2 and times[0] > 1.3 * times[1] > 1.3


def test_a_server_that_cannot_serve_is_refused() -> None:
    """No place, a page over the context, a cache under it, a limit for a static batch, a request too long, no load."""
    for wrong in ({"places": 0}, {"page": 4096}, {"cache_tokens": 2000}, {"cache_tokens": 2100, "page": 1000}):
        with pytest.raises(PlanError, match="cannot serve"):
            Server(**{"places": 4, **wrong})
    with pytest.raises(PlanError, match="iteration-level"):
        Server(4, iteration_level=False, cache_tokens=4096)
    with pytest.raises(PlanError, match="longer than the context"):
        simulate([Request(0.0, 2000, 100)], COST, Server(1))
    with pytest.raises(PlanError, match="more than 0"):
        requests(1, 0.0)


def test_a_step_of_the_case_is_the_planners_own(case: serving.Case) -> None:
    """The sum of its parts equals the cost model within 1 % for up to as many sequences as there are places."""
    for sequences, cached in ((1, 2), (8, 1500), (16, 600), (32, 400), (serving.PLACES, 200)):
        planned = serving.step_seconds(case.plan, sequences, cached)
        assert case.cost.seconds(sequences, sequences * cached) == pytest.approx(planned, rel=0.01)


def test_pages_waste_little_cost_a_little_and_hold_more_requests(case: serving.Case) -> None:
    """Contiguous wastes most of what it holds; pages hardly any; at a small load contiguous is the faster one."""
    asked = requests(100, 6, seed=2)
    contiguous, pages = (simulate(asked, case.cost, case.server(page)) for page in (case.context, 16))
    assert contiguous.waste > 0.8 and pages.waste < 0.05
    most = [max(memory.sequences for memory in run.memory) for run in (contiguous, pages)]
    assert most[0] == case.cache_tokens // case.context and most[1] > 2 * most[0]
    assert pages.memory[-1].time < 0.7 * contiguous.memory[-1].time
    few = requests(100, 0.5, seed=2)
    assert mean_latency(simulate(few, case.cost, case.server(16))) > mean_latency(
        simulate(few, case.cost, case.server(case.context))
    )


def test_the_load_at_which_paging_wins_is_checked_by_side(case: serving.Case) -> None:
    """There is one such load: below nothing is won, above it always is; the check names the side only."""
    loads = (0.5, 1, 2, 3, 3.5, 4, 8, 30, 1000)
    wins = [serving.paging_wins(case, load) for load in loads]
    assert wins == sorted(wins) and not wins[3] and wins[5]
    low, high = 3.0, 4.0
    while high / low > 1.01:
        middle = (low + high) / 2
        low, high = (low, middle) if serving.paging_wins(case, middle) else (middle, high)
    assert all(serving.check_paging_wins(high * near, case) for near in (0.93, 1, 1.07))
    sides = ((1.0, "keeps up"), (0.85 * high, "keeps up"), (1.15 * high, "already"), (50, "already"))
    for wrong, words in sides:
        verdict = serving.check_paging_wins(wrong, case)
        assert not verdict and words in verdict.words and f"{high:.2g}" not in verdict.words
    for nothing in (0, -1, float("nan"), float("inf"), "many"):
        assert "no load" in serving.check_paging_wins(nothing, case).words  # type: ignore[arg-type]


def test_together_is_faster_than_one_after_the_other(session: llmdist.Session) -> None:
    """Measured with the demo model: four together beat four in turn, and the line has a fixed price."""
    prompts = ["One day Anna the ant walked to the"] * 4
    alone, together = serving.one_after_the_other(session, prompts, tokens=16)
    assert alone > 1.3 * together
    measured = serving.measure(session, prompts, (1, 2, 4), tokens=16)
    assert measured[2].tokens_per_second > 1.3 * measured[0].tokens_per_second
    assert serving.fitted(measured).fixed > 0
    assert "4 together" in show.steps_picture(measured).words


def test_a_line_is_fitted_through_steps() -> None:
    """Points on a line give the line back."""
    points = [serving.Measured(n, 8 * n, COST.seconds(n, 0, 8 * n), COST.seconds(n)) for n in (1, 2, 4, 8)]
    cost = serving.fitted(points)
    assert (cost.fixed, cost.sequence, cost.prompt_token) == pytest.approx((1e-3, 1e-4, 1e-4))


def test_a_model_uses_as_many_computers_as_it_needs() -> None:
    """8B stays on one computer, 13B takes two, and 70B all four, which pays."""
    small, middle, large = (
        many_machines.placed(model, precision=precision)
        for model, precision in (("llama-3-8b", "int4"), ("llama-2-13b", "int8"), ("llama-3-70b", "int4"))
    )
    used = [len(set(many_machines.computers(plan.placement))) for plan in (small, middle, large)]
    assert used == [1, 2, 4]
    assert many_machines.crossing(small.problem, small.placement) == many_machines.Crossing(0, 0, 0)
    way = many_machines.crossing(large.problem, large.placement)
    assert way.seconds < 0.1 * large.prediction.tpot_seconds
    alone = many_machines.placed("llama-3-70b", "rtx3060", "int4")
    assert alone.prediction.tpot_seconds > 3 * large.prediction.tpot_seconds


def test_bandwidth_helps_a_prompt_and_hardly_a_token(spread: PlanResult) -> None:
    """Ten times the bandwidth: one token gains under a third, a prompt of 900 more than five times."""
    ten = many_machines.over(spread.problem, "four-10g")
    for tokens, low, high in ((1, 1.0, 1.4), (900, 5.0, 10.0)):
        slow, fast = (many_machines.crossing(made, spread.placement, tokens) for made in (spread.problem, ten))
        assert slow.bytes == fast.bytes == slow.hops * 5120 * 2 * tokens
        assert low < slow.seconds / fast.seconds < high


def test_four_in_flight_fill_the_relay(spread: PlanResult) -> None:
    """Nearly four times the tokens, nobody faster than alone; six bring no more; one is best served by its own plan."""
    one, four, six = (many_machines.tokens_per_second(spread.problem, spread.placement, n) for n in (1, 4, 6))
    assert 3.5 * one < four < 4.01 * one and six == pytest.approx(four)
    assert 1 / many_machines.placed().prediction.tpot_seconds > one
    assert set(many_machines.computers(spread.placement)) == {"m0", "m1", "m2", "m3"}


def test_the_relay_agrees_with_the_cost_model(spread: PlanResult) -> None:
    """No device serves two at once, no sequence is at two places, and the pace is the planner's within 5 %."""
    for sequences in (1, 2, 4):
        visits = many_machines.relay(spread.problem, spread.placement, sequences, tokens=20)
        for key in ("device", "sequence"):
            for name in {getattr(visit, key) for visit in visits}:
                own = sorted((v.start, v.end) for v in visits if getattr(v, key) == name)
                assert all(before[1] <= after[0] + 1e-12 for before, after in pairwise(own))
        pace = 20 * sequences / max(visit.end for visit in visits)
        planned = many_machines.tokens_per_second(spread.problem, spread.placement, sequences)
        assert pace == pytest.approx(planned, rel=0.05)


def test_pictures_are_svg_and_say_what_they_show(case: serving.Case, spread: PlanResult) -> None:
    """Each parses, and its words hold the number that matters."""
    asked = requests(16, 0.1 / STEP, seed=1, prompt=8, new=40)
    runs = {name: simulate(asked, COST, Server(4, name == "level")) for name in ("static", "level")}
    held = {"pages": simulate(requests(30, 6), case.cost, case.server(16))}
    pictures = {
        "ms from arrival": show.requests_picture(runs),
        "% of what is held is empty": show.memory_picture(held, case),
        "pages: 100%, 50%": show.load_picture((1, 2), {"pages": (1.0, 0.5)}),
        "the cards compute": show.relay_picture({"2": many_machines.relay(spread.problem, spread.placement, 2)}),
    }
    for words, picture in pictures.items():
        ElementTree.fromstring(picture.svg)
        assert words in picture.words
