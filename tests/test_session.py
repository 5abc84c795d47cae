"""The session end to end on the bundled model: plan, generate, stop, recover, refuse."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmdist
from llmdist import LlmdistError, PlanResult
from llmdist.errors import GenerationError, InfeasibleError, PlanError, UnitError
from llmdist.events import GenerationStarted

PROMPT = "One day Anna the ant walked to the"


@pytest.fixture(scope="module")
def session() -> Iterator[llmdist.Session]:
    """One session with the engine in a child process."""
    session = llmdist.load("demo")
    yield session
    session.unload()


def tight(session: llmdist.Session) -> PlanResult:
    """Plan under a cap that forces blocks to stream."""
    roomy = session.plan(context=256, seconds=0.5)
    return session.plan(ram=int(roomy.prediction.peak_bytes["cpu"] * 0.6), context=256, seconds=0.5)


def test_a_tight_cap_streams_blocks_and_gives_the_same_tokens(session: llmdist.Session) -> None:
    """The same greedy text comes out resident and under a cap that streams."""
    session.plan(context=256, seconds=0.5)
    resident = [step.token_id for step in session.generate(PROMPT, max_new_tokens=24)]
    plan = tight(session)
    assert plan.placement.count("streamed") > 2
    assert plan.prediction.peak_bytes["cpu"] <= plan.problem.cap("cpu")
    assert [step.token_id for step in session.generate(PROMPT, max_new_tokens=24)] == resident
    assert session.stats.tokens_per_second > 0 and session.stats.bytes_moved > 0


def test_a_precision_that_is_allowed_never_makes_a_plan_impossible(session: llmdist.Session) -> None:
    """Unpacking int8 needs workspace that a plan of plain blocks does without; a lock in int8 still needs it."""
    limits = {"ram": "7MiB", "context": 500, "seconds": 0.3}
    alone = session.plan(precision="bf16", **limits)
    both = session.plan(precision="bf16,int8", **limits)
    assert both.prediction.peak_bytes["cpu"] <= both.problem.cap("cpu")
    assert both.objective_seconds == pytest.approx(alone.objective_seconds, rel=0.05)
    lock = {"layers.0.mlp": llmdist.Assignment("cpu", "cpu", "int8")}
    with pytest.raises(InfeasibleError):
        session.plan(precision="bf16,int8", locks=lock, **limits)


def test_a_front_falls_back_to_plain_weights_as_a_plan_does(session: llmdist.Session) -> None:
    """Where unpacking has no room, a front of plain placements is searched instead of none."""
    front = session.pareto(ram="7MiB", context=500, seconds=0.5, budgets=(10.0,))
    assert all(point.plan.prediction.peak_bytes["cpu"] <= point.plan.problem.cap("cpu") for point in front)


def test_fewer_sequences_than_planned_are_judged_by_their_own_prediction(session: llmdist.Session) -> None:
    """One prompt under a plan for eight is not promised the speed of eight."""
    plan = session.plan(context=64, batch=8, seconds=0.3)
    seen: list[object] = []
    list(session.generate(PROMPT, max_new_tokens=4, on_event=seen.append))
    started = next(event for event in seen if isinstance(event, GenerationStarted))
    assert started.predicted_tokens_per_second == plan.prediction_for(1).tokens_per_second
    assert started.predicted_tokens_per_second < 0.5 * plan.prediction.tokens_per_second
    assert plan.prediction_for(8) is plan.prediction


def test_a_long_prompt_takes_what_was_planned() -> None:
    """What the libraries set up for long prompts, whatever the model, is not counted as the model's: it was 9 MiB."""
    session = llmdist.load("demo")
    plan = session.plan(ram="10MiB", context=512, seconds=0.3)
    list(session.generate([5 + i % 200 for i in range(200)], max_new_tokens=4))
    assert session.stats.peak_bytes["cpu"] < plan.prediction.peak_bytes["cpu"] + (4 << 20)
    session.unload()


def test_bytes_moved_per_token_are_those_of_the_plan(session: llmdist.Session) -> None:
    """What the engine copies for one decode step is what the plan says, within 1 %."""
    plan = tight(session)
    steps = list(session.generate(PROMPT, max_new_tokens=6))
    assert steps[3].bytes_moved == pytest.approx(plan.prediction.bytes_per_token, rel=0.01)


def test_a_killed_engine_loses_no_token(session: llmdist.Session) -> None:
    """SIGKILL in the middle: the generation goes on to the tokens it would have had."""
    tight(session)
    expected = [step.token_id for step in session.generate(PROMPT, max_new_tokens=20)]
    tokens = []
    for step in session.generate(PROMPT, max_new_tokens=20):
        tokens.append(step.token_id)
        if step.index == 7:
            assert session.engine_pid is not None
            os.kill(session.engine_pid, signal.SIGKILL)
    assert tokens == expected
    assert session.stats.restarts == 1 and "SIGKILL" in session.messages[-1]


def test_a_placement_applied_during_generation_keeps_the_tokens(session: llmdist.Session) -> None:
    """Moving to all-resident between two tokens changes speed, not text."""
    resident = session.plan(context=256, seconds=0.5)
    expected = [step.token_id for step in session.generate(PROMPT, max_new_tokens=16)]
    tight(session)
    session.plan_result = resident if session.plan_result is None else session.plan_result
    streamed = session.plan_result.placement
    session.plan(context=256, seconds=0.5)
    tokens = []
    for step in session.generate(PROMPT, max_new_tokens=16):
        tokens.append(step.token_id)
        if step.index == 5:
            session.plan_result = llmdist.planner.solve(resident.problem, seed=0)
            session.apply(resident.placement.moved({streamed.blocks[3]: streamed.assignments[3]}))
    assert tokens == expected


def test_cancel_keeps_the_text_and_the_session(session: llmdist.Session) -> None:
    """A cancelled generation keeps its text; the next one gives a fresh session's tokens."""
    session.plan(context=256, seconds=0.5)
    expected = [step.token_id for step in session.generate(PROMPT, max_new_tokens=12)]
    for step in session.generate(PROMPT, max_new_tokens=12):
        if step.index == 4:
            session.cancel()
    assert session.stats.tokens == 5 and session.text and session.stats.finish_reason == "interrupted"
    assert [step.token_id for step in session.generate(PROMPT, max_new_tokens=12)] == expected


def test_stop_strings_end_the_text(session: llmdist.Session) -> None:
    """The text ends before the stop string, which is not part of it."""
    whole = "".join(step.text for step in session.generate(PROMPT, max_new_tokens=40))
    assert "." in whole
    text = "".join(step.text for step in session.generate(PROMPT, max_new_tokens=40, stop=["."]))
    assert text == whole.split(".")[0] == session.text and session.stats.finish_reason == "stop"


def test_a_seed_gives_the_same_sample_twice(session: llmdist.Session) -> None:
    """Sampling with a seed repeats; another seed differs somewhere."""

    def run(seed: int) -> list[int]:
        steps = session.generate(PROMPT, max_new_tokens=30, temperature=1.5, top_k=40, top_p=0.95, seed=seed)
        return [step.token_id for step in steps]

    assert run(1) == run(1)
    assert any(run(1) != run(seed) for seed in (2, 3, 4))


def test_inline_and_isolated_engines_agree() -> None:
    """The worker inline gives the tokens of the child process."""
    texts = []
    for isolate in (True, False):
        session = llmdist.load("demo", isolate=isolate)
        texts.append([step.token_id for step in session.generate(PROMPT, max_new_tokens=10)])
        session.unload()
    assert texts[0] == texts[1]


def test_a_plan_file_comes_back_as_it_was(session: llmdist.Session, tmp_path: Path) -> None:
    """save and load are inverse, but for the last digits of the search's history."""
    plan = tight(session)
    plan.save(tmp_path / "plan.json")
    loaded = PlanResult.load(tmp_path / "plan.json")
    assert (loaded.problem, loaded.placement, loaded.prediction) == (plan.problem, plan.placement, plan.prediction)
    assert (loaded.objective_seconds, loaded.seed, loaded.method) == (plan.objective_seconds, plan.seed, plan.method)
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "plan.json").read_text()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"ram": "8GiBB"}, UnitError, "cannot be read"),
        ({"ram": "-1GiB"}, UnitError, "not above zero"),
        ({"ram": "10KiB"}, InfeasibleError, "KiB"),
        ({"context": 100_000}, PlanError, "trained for"),
        ({"precision": "int3"}, PlanError, "Unknown precision"),
        ({"precision": "bf16,fp32"}, PlanError, "at most one of"),
        ({"batch": 0}, PlanError, "whole number from 1"),
        ({"batch": 1.5}, PlanError, "whole number from 1"),
        ({"context": 10.5}, PlanError, "whole number in that range"),
        ({"context": "100"}, PlanError, "'100' tokens"),
        ({"seconds": 0}, PlanError, "above 0"),
        ({"seconds": "long"}, PlanError, "'long' seconds"),
        ({"seed": -1}, PlanError, "seed -1"),
        ({"objective": "beauty"}, PlanError, "objective"),
    ],
)
def test_a_wrong_limit_is_one_sentence_and_leaves_the_plan(
    session: llmdist.Session, options: dict[str, object], error: type[Exception], words: str
) -> None:
    """Each unusable limit names itself; the plan in force stays."""
    before = session.plan(context=256, seconds=0.3)
    with pytest.raises(error, match=words):
        session.plan(**options)  # type: ignore[arg-type]
    assert session.plan_result is before


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        ("", {}, "empty"),
        ([], {}, "no tokens"),
        (None, {}, "neither text nor"),
        ([1.5, 2], {}, "neither text nor"),
        ([99999], {}, "vocabulary"),
        (PROMPT, {"max_new_tokens": 0}, "whole number from 1"),
        (PROMPT, {"max_new_tokens": "many"}, "'many' new tokens"),
        (PROMPT, {"max_new_tokens": 5000}, "trained"),
        (PROMPT, {"temperature": -1}, "temperature"),
        (PROMPT, {"temperature": "hot"}, "temperature is 'hot'"),
        (PROMPT, {"top_p": 0}, "top_p"),
        (PROMPT, {"top_k": 1.5}, "top_k is 1.5"),
        (PROMPT, {"seed": 1 << 64, "temperature": 1}, "whole number from 0"),
        (PROMPT, {"seed": 1.5}, "whole number from 0"),
        (PROMPT, {"stop": 5}, "stop has 5"),
        (PROMPT, {"stop": ["end", ""]}, "stop has ''"),
        (PROMPT, {"chat": True}, "chat template"),
    ],
)
def test_a_wrong_generation_is_refused_before_it_starts(
    session: llmdist.Session, prompt: object, options: dict[str, object], words: str
) -> None:
    """Each unusable prompt or option names itself."""
    with pytest.raises(GenerationError, match=words):
        session.generate(prompt, **options)  # type: ignore[arg-type]


def test_after_unload_every_verb_says_so() -> None:
    """An unloaded session asks to be loaded again."""
    session = llmdist.load("demo")
    session.unload()
    session.unload()
    with pytest.raises(LlmdistError, match="was unloaded"):
        session.plan()
