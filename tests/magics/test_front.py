"""The Pareto front in the shell and on a screen: one front, the same numbers in text, picture and widget."""

from __future__ import annotations

import re

import pytest
from IPython.core.error import UsageError
from IPython.utils.capture import capture_output
from traitlets.config import Config

from llmdist_widgets.front import front_html, front_svg
from llmdist_widgets.front_view import FrontView


@pytest.fixture(scope="module")
def shell(module_shell):
    """A shell with the demo model and a front of its plans."""
    module_shell.run_line_magic("llm_load", "demo --inline -q")
    module_shell.run_line_magic("llm_plan", "--pareto --seconds 1 --context 256 --out front -q")
    return module_shell


def test_pick_puts_that_plan_in_force(shell):
    """The plan of the front itself is in force, runs, and is marked in the table; another number takes another."""
    llm, front = shell.user_ns["llm"], shell.user_ns["front"]
    assert len(front) >= 2 and llm.front is front
    for number in (2, 1):
        picked = shell.run_line_magic("llm_plan", f"--pick {number} -o -q")
        assert picked is front[number - 1].plan is llm.plan_result
        assert f"-> plan {number} of {len(front)} is in force" in front.summary(llm.plan_result)
    assert [step.text for step in llm.generate("One day", max_new_tokens=3)]
    with pytest.raises(UsageError, match=f"give a number from 1 to {len(front)}"):
        shell.run_line_magic("llm_plan", f"--pick {len(front) + 1}")
    assert llm.plan_result is front[0].plan


def test_text_picture_and_widget_say_the_same(shell):
    """Every cell of the text table stands in the static copy and in the widget; the mark is on the same plan."""
    front = shell.user_ns["front"]
    view = FrontView(front, in_force=front[1].plan)
    assert view.widget.front["rows"] == front.rows()
    page, svg = front_html(front, front[1].plan), front_svg(front, front[1].plan)
    assert view.widget.state["picture"] == svg and view.widget.state["chosen"] == 2
    assert all(f">{cell}</td>" in page for row in front.rows() for cell in row[1:])
    assert all(" ".join(row[:2]) in " ".join(front.summary().split()) for row in front.rows())
    assert re.search(r'data-plan="2"><circle[^>]*class="mark"', svg) and svg.count('class="mark"') == 2
    assert len(page) <= 60_000


def test_a_click_picks_and_a_failure_is_said(shell):
    """A click puts the plan in force and is told; a wrong number is a sentence in the view."""
    llm, front = shell.user_ns["llm"], shell.user_ns["front"]
    view = FrontView(front, llm.pick)
    view._received(None, {"ask": "pick", "plan": 2}, [])
    assert llm.plan_result is front[1].plan and view.widget.state["chosen"] == 2
    view._received(None, {"ask": "pick", "plan": 99}, [])
    assert view.widget.state["failed"] and "99" in view.widget.state["said"]
    assert llm.plan_result is front[1].plan


def test_a_simulated_front_applies_nothing(shell):
    """--pick of a simulated front shows the plan, and the plan in force stays."""
    llm = shell.user_ns["llm"]
    before = llm.plan_result
    shell.run_line_magic("llm_plan", "--pareto --machine rtx4090 --model-shape llama-2-7b --seconds 1 -q")
    with capture_output() as shown:
        plan = shell.run_line_magic("llm_plan", "--pick 1 -o")
    assert plan.simulated and "Nothing was put in force" in shown.stdout and llm.plan_result is before


def test_config_reaches_the_colony_and_refuses_all_that_is_wrong(shell):
    """A default set by %config is what the search gets; wrong ones are named in one message and none is set."""
    state = shell._llmdist_state
    shell.run_line_magic("config", "LLMDist.ants = 7")
    assert state.config.colony().ants == 7
    with pytest.raises(Exception, match=r"ants is 0.*evaporation is 7.*seconds is -1"):
        state.config.update_config(Config({"LLMDist": {"ants": 0, "evaporation": 7, "seconds": -1}}))
    assert (state.config.ants, state.config.evaporation, state.config.seconds) == (7, 0.1, 2.0)
    with pytest.raises(Exception, match="there is no ant, but ants"):
        state.config.update_config(Config({"LLMDist": {"ant": 3}}))
