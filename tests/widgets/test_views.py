"""The static views: well-formed, small, labelled."""

from __future__ import annotations

import base64
import random
import re
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llmdist.cost.timeline import Span, Timeline
from llmdist.events import IterationFinished, PlanStarted
from llmdist.planner.placement import Assignment, Placement
from llmdist_widgets import generation_html, plan_html, write_report
from llmdist_widgets.planning import placement_svg
from llmdist_widgets.replay import VIEW_BYTES, interactive, search_replay
from llmdist_widgets.svg import WIDTH
from llmdist_widgets.theme import PASS, cividis
from llmdist_widgets.timeline import timeline_svg

sys.path.insert(0, str(Path(__file__).parent))
from synthetic import make_generation, make_plan

VALUES = (0.02, 0.02, 0.03, 0.05, 0.4, 1.0)  # a trail on its way: most options faded


def pictures(html: str) -> list[str]:
    """Return the SVG documents carried in `html`, parsed once to prove that they are XML."""
    found = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    documents = [base64.b64decode(data).decode() for data in found]
    for document in documents:
        ElementTree.fromstring(document)
    return documents


@pytest.mark.parametrize("layers", [1, 12, 79])
def test_every_picture_is_xml_and_small(layers):
    """Each picture is well-formed and its data URI at most 60 KB, up to 160 blocks."""
    plan, events = make_plan(layers)
    text, generation = make_generation(plan)
    html = plan_html(plan, events) + generation_html(text, generation)
    assert len(pictures(html)) == 7
    assert all(len(tag) <= 60_000 for tag in re.findall(r"<img[^>]*>", html))


def test_an_irregular_plan_of_80_layers_stays_small():
    """With a different choice at every block and a trail of noise, each view has at most 60 KB."""
    plan, events = make_plan(79)
    rng = random.Random(0)
    options = {block.name: plan.problem.options(block) for block in plan.problem.blocks}
    chosen = tuple(rng.choice(options[name]) for name in plan.placement.blocks)
    noisy = [replace(e, trail=tuple(tuple(rng.choice(VALUES) for _ in row) for row in e.trail))
             if isinstance(e, IterationFinished) else e for e in events]  # fmt: skip
    html = plan_html(replace(plan, placement=Placement(plan.placement.blocks, chosen)), noisy)
    text, generation = make_generation(plan)
    assert len(html) <= 60_000
    for room in (4_000, 14_000, 16_000, 20_000, 59_000):  # the script with its data keeps within what it is given
        assert len(interactive("", search_replay(noisy, room))) <= room
    assert search_replay(noisy, 4_000) is None and search_replay(noisy, 59_000) is not None
    assert len(generation_html(text, generation, plan=plan)) <= 60_000


@pytest.mark.parametrize("layers", [8, 79])
def test_a_long_search_takes_the_room_that_is_left_and_no_more(layers):
    """Hundreds of iterations of noise are thinned until pictures, words, script and history together fit."""
    plan, events = make_plan(layers)
    rng, started = random.Random(0), next(e for e in events if isinstance(e, PlanStarted))
    row = next(e for e in events if isinstance(e, IterationFinished))
    many = [
        replace(row, iteration=1000 + i, elapsed_seconds=rng.random(), best=rng.random(), mean=rng.random(),
                trail=tuple(tuple(rng.choice(VALUES) for _ in cells) for cells in row.trail))
        for i in range(300)
    ]  # fmt: skip
    html = plan_html(plan, [started, *many])
    assert 45_000 < len(html) <= VIEW_BYTES
    assert "replaySearch" in html
    assert search_replay([started, *many], 12_000) is None  # no room but for the script


def test_plan_pictures_carry_labels_and_units():
    """The plan's pictures name blocks, options, devices, caps and units."""
    plan, events = make_plan()
    placement, convergence, pheromone = pictures(plan_html(plan, events))
    assert all(word in placement for word in ("embed", "head", "cuda:0", "of 6 GiB", "resident"))
    assert all(word in convergence for word in (">ms<", "iteration", "bound 29.2 ms"))
    assert all(word in pheromone for word in ("cpu&gt;cuda:0 bf16", "embed", "26 blocks"))


def test_generation_pictures_carry_units_and_text_is_escaped():
    """The generation's pictures have units, and the model's text cannot inject HTML."""
    plan, _ = make_plan()
    text, events = make_generation(plan)
    html = generation_html(text, events)
    speed, memory, blocks, timeline = pictures(html)
    assert "tokens/s" in speed and "predicted 33.3" in speed
    assert "of 6 GiB" in memory and ">ms<" in blocks
    assert "measured" in timeline and "copy cuda:0" in timeline
    assert "&lt;found&gt;" in html and "<found>" not in html


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_generations_are_drawn(count):
    """Zero, one or two tokens give a view and no error."""
    plan, _ = make_plan()
    html = generation_html("the text", make_generation(plan, count)[1])
    assert "the text" in html and len(pictures(html)) == (0, 4, 4)[count]


def test_plan_without_events_is_drawn():
    """A plan read from a file has no events, and its view needs none."""
    assert len(pictures(plan_html(make_plan()[0], []))) == 2


def test_report_loads_nothing_from_elsewhere(tmp_path):
    """The page is self-contained: its scripts are inline and nothing in it has an address but data."""
    plan, events = make_plan()
    text, generation = make_generation(plan)
    page = write_report(tmp_path / "r.html", plan, events, generation, text).read_text()
    addresses = re.findall(r"""(?:src|href)=["']([^"']{0,30})|url\(["']?([^)"']{0,20})|(?:fetch|import)\(""", page)
    assert page.count("<script>") == 2 and "<link" not in page
    assert "display:flex;flex-wrap:wrap" in page  # the slider and its words: a narrow page does not scroll sideways
    assert all(a.startswith("data:image/svg+xml;base64,"[: len(a)]) and a for a, _ in addresses), addresses


def test_cividis_ends():
    """The colour scale starts dark blue, ends yellow, and clips."""
    assert (cividis(-1), cividis(2)) == ("#00224e", "#fee838")


def test_copies_long_before_a_token_do_not_press_it_flat():
    """The time before the token is as wide as the token at most; what began earlier is counted."""
    spans = [Span("a", "cpu", "compute", 0.0, 0.010), Span("b", "copy cpu", "copy", -0.150, -0.149)]
    svg = timeline_svg(Timeline((*spans, Span("c", "copy cpu", "copy", -0.012, 0.002)), 0.010))
    assert "2 copies began earlier" in svg and ">-150<" not in svg and ">-10<" in svg
    assert re.search(r'stroke="#E69F00" stroke-width="\d+" d="M150\.0 [\d.]+h\d+\.\d"', svg)
    short = timeline_svg(Timeline((*spans, Span("c", "copy cpu", "copy", -0.001, 0.002)), 0.010))
    assert "1 copy began earlier" in short and ">-10<" not in short and ">-5<" not in short


def test_fast_plans_have_no_exponent_and_no_cut_label():
    """Headline, band, facts and the chart's labels write 1208 tokens/s in full, inside the picture."""
    plan, events = make_plan()
    fast = replace(plan, prediction=replace(plan.prediction, tokens_per_second=3612.4, spread=0.4))
    text, generation = make_generation(fast)
    generation[0] = replace(generation[0], predicted_tokens_per_second=13612.4)
    generation[-1] = replace(generation[-1], tokens_per_second=1208.3)
    html = plan_html(fast, events) + generation_html(text, generation)
    assert "3612 tokens/s predicted</b>, 1623 to 8040 expected" in html
    assert "1208 tokens/s</b> (predicted 13612)" in html
    speed = next(picture for picture in pictures(html) if "Speed over tokens" in picture)
    label = re.search(r'<text x="(\d+)"[^>]*>predicted 13612<', speed)
    assert label and int(label[1]) + 8.5 * len("predicted 13612") <= WIDTH
    assert "e+0" not in re.sub(r"base64,[^\"]*", "", html) + "".join(pictures(html))


@pytest.mark.parametrize("priced", [True, False])
def test_the_price_of_a_pass_has_its_own_colour_and_words(priced):
    """It stands before 0 and is not counted as a wait; without a price the picture does not name it."""
    spans = (Span("embed", "cpu", "compute", 0.0, 0.001), Span("head", "cpu", "compute", 0.001, 0.0017))
    price = (Span("embed", "cpu", "pass", -0.0036, 0.0),) if priced else ()
    svg = timeline_svg(Timeline(spans, 0.0017), Timeline((*price, *spans), 0.0053 if priced else 0.0017))
    assert ("price of a pass</text>" in svg) is priced and (f'stroke="{PASS}"' in svg) is priced
    assert ("5.3 ms, 3.6 ms of it the price of a pass, 0 ms waiting for weights" in svg) is priced
    assert ('<path stroke="url(#w)"' not in svg) and "began earlier" not in svg


def test_a_legend_of_four_modes_stays_inside_the_picture():
    """The second row of the legend moves the strip down; nothing is written beyond the right edge."""
    plan, _ = make_plan()
    moves = {f"layers.{n}.mlp": Assignment("cuda:0", "cuda:0", "bf16", 3) for n in range(9)}
    moves |= {f"layers.{n}.attention": Assignment("cuda:0", "cpu", "bf16", 0, True) for n in range(9)}
    few, many = (placement_svg(replace(plan, placement=one)) for one in (plan.placement, plan.placement.moved(moves)))
    assert "on demand (9)" in many
    for svg in (few, many):
        found = re.findall(r'<text x="(\d+)" y="\d+" class="soft">([^<]+)<', svg)
        assert "its weights rest here" in {words for _, words in found}
        assert all(int(x) + 7.2 * len(words) <= WIDTH for x, words in found)
