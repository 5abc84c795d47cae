"""Lesson 4: the rule fails its own check, a plan over a cap is refused, and what the lesson says in words holds."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

import llmdist
from llmdist.cost.timeline import predicted_timeline
from llmdist.errors import PlanError
from llmdist.lessons import homes
from llmdist.planner import MaxIterations, Placement, PlanningProblem, evaluate, solve, violations
from llmdist_widgets import homes as show
from llmdist_widgets.editor import PlacementEditor

APART = {"layers.39.mlp": "cpu", "layers.30.mlp": "disk>gpu"}  # one of the streamed blocks, further from the others


@pytest.fixture(scope="module")
def made() -> PlanningProblem:
    """The problem of Part B."""
    return homes.case()


@pytest.fixture(scope="module")
def rule(made: PlanningProblem) -> Placement:
    """What the rule makes of it."""
    return homes.fill_in_order(made)


@pytest.fixture(scope="module")
def session() -> Iterator[llmdist.Session]:
    """The demo model, inline, with half of its weights in RAM."""
    session = llmdist.load("demo", isolate=False)
    session.plan(context=128, seconds=0.2)
    session.plan(ram=homes.half_of(session), context=128, seconds=0.2)
    yield session
    session.unload()


def test_the_rule_fills_three_homes_in_order(made: PlanningProblem, rule: Placement) -> None:
    """GPU, then RAM, then disk, each as full as it goes; the rule keeps the caps and fails its own check."""
    order = [("cuda:0", "cpu", "disk").index(choice.home_device) for choice in rule.assignments]
    assert order == sorted(order) and set(order) == {0, 1, 2}
    assert not violations(made, rule)
    first_of_ram, first_of_disk = rule.blocks[order.index(1)], rule.blocks[order.index(2)]
    assert violations(made, show.moved(made, rule, {first_of_ram: "gpu"}))
    assert violations(made, show.moved(made, rule, {first_of_disk: "cpu"}))
    verdict = homes.check_beats(rule, made)
    assert not verdict and "as long as by the rule" in verdict.words


def test_a_placement_over_a_cap_is_refused_by_the_name_of_the_device(made: PlanningProblem, rule: Placement) -> None:
    """Too much on the card and too much in RAM each name their device; another model or precision is refused."""
    for moves, device in (({"layers.24-30": "gpu"}, "cuda:0"), ({"layers.0-23": "cpu"}, "cpu")):
        verdict = homes.check_beats(show.moved(made, rule, moves), made)
        assert not verdict and "cannot run" in verdict.words and f"{device} needs" in verdict.words
    small = Placement(rule.blocks[:2], rule.assignments[:2])
    assert "another model" in homes.check_beats(small, made).words
    text = {name: words.replace("fp16", "int4") for name, words in rule.to_json().items()}
    assert "stored otherwise" in homes.check_beats(Placement.from_json(text), made).words


def test_plans_that_are_faster_pass_and_wait_less(made: PlanningProblem, rule: Placement) -> None:
    """The planner's plan, and a single exchange by hand, pass; both wait less for weights than the rule."""
    planned = solve(made, stop=MaxIterations(20)).placement
    waiting = predicted_timeline(made, rule).waiting_seconds()
    for placement in (planned, show.moved(made, rule, APART)):
        verdict = homes.check_beats(placement, made)
        assert verdict and "less time" in verdict.words
        assert predicted_timeline(made, placement).waiting_seconds() < 0.8 * waiting


def test_the_check_says_how_far_and_never_which_move(made: PlanningProblem, rule: Placement) -> None:
    """A slower placement, a small gain and a passing one are told in percent, without a block's name."""
    slower = show.moved(made, rule, {"layers.30-31.mlp": "cpu>gpu"})
    near = show.moved(made, rule, {"layers.39.attention": "cpu", "layers.38.attention": "disk>gpu"})
    for placement, words in ((slower, "more time"), (near, "less time"), (show.moved(made, rule, APART), "less time")):
        verdict = homes.check_beats(placement, made)
        assert words in verdict.words and "layers" not in verdict.words and "%" in verdict.words
    assert not homes.check_beats(slower, made) and not homes.check_beats(near, made)


def test_bringing_takes_longer_than_computing_where_it_rests(made: PlanningProblem, rule: Placement) -> None:
    """The lesson's example: with the MLPs in RAM brought to the card a token takes more than half as long again."""
    brought = show.moved(made, rule, {"layers.24-37.mlp": "cpu>gpu"})
    assert not violations(made, brought)
    assert evaluate(made, brought).tpot_seconds > 1.5 * evaluate(made, rule).tpot_seconds


def test_moves_are_read_as_the_editor_reads_them(made: PlanningProblem, rule: Placement) -> None:
    """In turn, by the words of %llm_place; what cannot be is an error with its words."""
    placed = show.moved(made, rule, {"layers.0-1": "cpu", "layers.1.mlp": "disk>cpu"})
    labels = [placed[name].label for name in ("layers.0.mlp", "layers.1.attention", "layers.1.mlp", "layers.2.mlp")]
    assert labels == ["cpu fp16", "cpu fp16", "disk>cpu fp16", "cuda:0 fp16"]
    for wrong, words in (
        ({"layers.99": "cpu"}, "No block"),
        ({"mlp": "moon"}, "names no device"),
        ({"mlp": "int4"}, "cannot be"),
    ):
        with pytest.raises(PlanError, match=words):
            show.moved(made, rule, wrong)


def test_the_notebook_and_the_editor_move_alike(session: llmdist.Session) -> None:
    """The exchange that the notebook starts with, by the editor's hand and by `moved`, is one placement, and fits."""
    plan = session.plan_result
    assert plan is not None
    moves = {"layers.1.mlp": "disk", "layers.3-4.attention": "cpu"}
    rule = homes.fill_in_order(plan.problem)
    session.apply(rule)
    editor = PlacementEditor(session)
    for blocks, target in moves.items():
        editor.move(blocks, target)
    editor.apply()
    in_force = session.plan_result
    assert in_force is not None and in_force.placement == show.moved(plan.problem, rule, moves)
    assert in_force.placement.count("streamed") == rule.count("streamed") - 1
    session.apply(plan.placement)


def test_without_the_disk_there_is_still_something_to_win() -> None:
    """The lesson's last question: with much RAM the rule needs no disk, and the planner still beats it by the mark."""
    roomy = homes.case(ram="64GiB")
    assert not any(choice.home_device == "disk" for choice in homes.fill_in_order(roomy).assignments)
    assert homes.check_beats(solve(roomy, stop=MaxIterations(20)).placement, roomy)


def test_two_placements_are_measured_in_turn(session: llmdist.Session) -> None:
    """The demo model: every placement has its token's timeline and prediction; the plan before is in force again."""
    plan = session.plan_result
    assert plan is not None
    rule = homes.fill_in_order(plan.problem)
    assert rule.count("streamed") and rule.assignments[-1].copies and not rule.assignments[0].copies
    found = homes.measure(session, {"rule": rule, "planned": plan.placement}, rounds=1, tokens=12)
    assert session.plan_result is not None and session.plan_result.placement == plan.placement
    for measured in found.values():
        assert measured.timeline.seconds > 0 and measured.seconds > 0 and measured.predicted_seconds > 0
        assert "copy cpu" in measured.timeline.lanes and "copy cpu" in measured.predicted.lanes
    assert found["planned"].predicted_seconds <= found["rule"].predicted_seconds


def test_large_blocks_stream_in_fewer_copies(session: llmdist.Session) -> None:
    """What Part A lets the reader find: MLPs and head on disk, the others in RAM, beats the rule."""
    plan = session.plan_result
    assert plan is not None
    rule = homes.fill_in_order(plan.problem)
    mine = show.moved(plan.problem, rule, {"all": "cpu", "mlp": "disk", "head": "disk"})
    assert not violations(plan.problem, mine) and mine.count("streamed") < rule.count("streamed")
    assert evaluate(plan.problem, mine).tpot_seconds < evaluate(plan.problem, rule).tpot_seconds


def test_pictures_are_svg_and_say_what_they_show(made: PlanningProblem, rule: Placement) -> None:
    """Both parse, and their words hold what matters."""
    lines = {"rule": predicted_timeline(made, rule)}
    for picture, words in (
        (show.placement_picture(made, rule, simulated=True), "streamed, disk>cuda:0"),
        (show.timelines_picture(lines, "One token, simulated"), "waiting for weights"),
    ):
        ElementTree.fromstring(picture.svg)
        assert words in picture.words
