"""The live views without a browser: what they send, how often, and what their buttons do."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from IPython.utils.capture import capture_output

import llmdist
from llmdist.events import PlacementChanged, Progressed, TokenProduced, WorkFinished
from llmdist_widgets.live import LivePlan
from llmdist_widgets.live_generation import LiveGeneration

sys.path.insert(0, str(Path(__file__).parent))
from synthetic import make_plan

PROMPT = "One day Anna the ant walked to the"


@pytest.fixture(scope="module")
def session():
    """The demo model with a plan, in this process."""
    session = llmdist.load("demo", isolate=False)
    session.plan(context=256, seconds=0.2)
    yield session
    session.unload()


def observed(session, work):
    """Run a generation that calls `work(view, event)` at every event; return the view and the text."""
    with capture_output():
        view = LiveGeneration(session)

    def heard(event):
        view(event)
        work(view, event)

    for _ in session.generate(PROMPT, max_new_tokens=40, on_event=heard):
        pass
    return view, session.text


def test_ants_at_full_speed_are_shown_ten_times_a_second_and_the_end_always():
    """Thousands of iterations give few messages; the last iteration is always among them."""
    plan, events = make_plan(40)
    with capture_output():
        view = LivePlan()
        began = time.monotonic()
        for _ in range(60):
            for event in events:
                view(event)
        took = time.monotonic() - began
        last = view._view
        view.done(plan)
    assert view.pushes <= 10 * took + 2
    assert last.now["iterations"][-1] == events[-2].iteration and len(last.trail) == 82 * last.setup["width"]


def test_a_smaller_cap_moves_blocks_between_two_tokens_and_keeps_the_text(session):
    """What-if plans under the asked cap and puts it in force while tokens come; the prediction follows."""
    _, plain = observed(session, lambda view, event: None)
    session.plan(context=256, seconds=0.2)
    used = session.plan_result.prediction.peak_bytes["cpu"]

    def ask(view, event):
        if isinstance(event, TokenProduced) and event.index == 5:
            view._what_if(int(0.8 * used))

    view, text = observed(session, ask)
    changed = [event for event in view.events if isinstance(event, PlacementChanged)]
    assert len(changed) == 1 and changed[0].moved_blocks and text == plain
    assert session.plan_result.prediction.peak_bytes["cpu"] <= 0.8 * used
    assert [index for index, _ in view._steps] == [0, 6]
    assert view._steps[1][1] == session.plan_result.prediction.tokens_per_second


def test_a_cap_that_nothing_fits_is_said_and_changes_nothing(session):
    """An impossible what-if is told in one sentence; the placement stays."""
    session.plan(context=256, seconds=0.2)
    before = session.plan_result

    def ask(view, event):
        if isinstance(event, TokenProduced) and event.index == 3:
            view._what_if(1000)

    view, _ = observed(session, ask)
    assert "No placement of the 18 blocks fits" in view._note and session.plan_result is before


def test_the_stop_button_ends_a_generation_before_its_next_token(session):
    """The message of the button cancels; the text so far is kept."""

    def ask(view, event):
        if isinstance(event, TokenProduced) and event.index == 7:
            view._asked({"ask": "stop"})

    view, text = observed(session, ask)
    assert session.stats.tokens == 8 and session.stats.finish_reason == "interrupted"
    assert text and view.text == text


def test_a_load_of_weights_has_its_bar_where_the_text_will_be(session):
    """Bytes, rate and time left while it lasts; the first token takes it away, the lasting copy has the sentence."""
    with capture_output() as shown:
        view = LiveGeneration(session)
        view(Progressed("load", "weights", 0.5, 6 * 10**8, 12 * 10**8, 1.5))
        told = view._view.words
        assert told["facts"] == "loading weights: 600 MB of 1.2 GB (50%), 400 MB/s, about 2 s left"
        assert told["share"] == 0.5
        view(WorkFinished("load", "weights", 12 * 10**8, 3.1, {"int8": 2}))
        for _ in session.generate(PROMPT, max_new_tokens=4, on_event=view):
            pass
        assert "share" not in view._words() and view._words()["facts"].startswith("4 tokens")
        kept = []
        view.finish = lambda html, text: kept.append(html)
        view.done(session.text)
    assert "made int8 for 2 blocks, kept for the next load." in kept[0] and shown is not None


def test_pictures_wait_for_a_second_and_words_do_not(session, monkeypatch):
    """A text that lasts a moment sends words alone; later the pictures come, at most once a second."""
    view, text = observed(session, lambda view, event: None)
    tokens = [event for event in view.events if isinstance(event, TokenProduced)]
    view._pictured, view._view.now = time.monotonic() + 3600, {}
    view._show(tokens[-1])
    assert view._view.now == {} and view._view.words["text"] == text
    view._pictured = time.monotonic() - 3600
    view._show(tokens[-1])
    assert view._view.now["token"] == tokens[-1].index
    before = view._view.now
    view._show(tokens[-2])
    assert view._view.now is before
