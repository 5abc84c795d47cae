"""Speculation in plans: expected tokens per pass, the draft's bytes within the caps, its time in the prediction."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import write_tiny

import llmdist
from llmdist.bench.random_problems import random_problem
from llmdist.errors import GenerationError, PlanError
from llmdist.planner import MaxIterations, PlanResult, evaluate, solve
from llmdist.planner.speculation import Acceptance, measured_acceptance, speculating

PROMPT = [5, 77, 300, 12, 5, 77, 300, 12, 5, 77]
STOP = MaxIterations(10)


@pytest.mark.parametrize(("rate", "share", "count"), [(0.0, 1.0, 4), (0.6, 1.0, 4), (0.8, 0.4, 8), (1.0, 1.0, 3)])
def test_tokens_per_pass_are_those_of_thrown_dice(rate: float, share: float, count: int) -> None:
    """The formula is the mean over 20,000 passes, and what such passes show leads back to rate and share."""
    dice, tokens, guessed, accepted, rejected = random.Random(1), 0, 0, 0, 0
    passes = 20_000
    for _ in range(passes):
        tokens += 1
        if dice.random() >= share:
            continue
        guessed += 1
        right = next((i for i in range(count) if dice.random() >= rate), count)
        tokens, accepted, rejected = tokens + right, accepted + right, rejected + (right < count)
    assert Acceptance(rate, share).tokens_per_pass(count) == pytest.approx(tokens / passes, rel=0.02)
    seen = measured_acceptance(passes, guessed, accepted, rejected)
    assert seen is not None and seen.passes == guessed
    assert (seen.rate, seen.share) == (pytest.approx(rate, abs=0.02), pytest.approx(share, abs=0.02))


def test_a_short_run_shows_nothing() -> None:
    """Seven guessed passes are too few."""
    assert measured_acceptance(30, 7, 20, 2) is None


def test_what_a_draft_holds_is_taken_from_the_caps() -> None:
    """A plan beside a draft keeps to what is left, costs its time, and other caps do not count the draft twice."""
    problem = random_problem(3)
    plain = solve(problem, stop=STOP)
    device = plain.placement.assignments[1].exec_device
    free = problem.cap(device) - plain.prediction.peak_bytes[device]
    beside = speculating(problem, 3, Acceptance(0.5, 1.0), 1e-3, {device: free + 1})
    assert beside.cap(device) == plain.prediction.peak_bytes[device] - 1
    found = solve(beside, stop=STOP)
    assert found.prediction.peak_bytes[device] < plain.prediction.peak_bytes[device]
    assert beside.with_caps({device: 12345}).cap(device) == 12345
    assert beside.workload.accepted == pytest.approx(1 + 0.5 + 0.25 + 0.125)
    quick = replace(beside, workload=replace(beside.workload, draft_seconds=0.0))
    assert beside.pass_seconds - quick.pass_seconds == pytest.approx(3e-3)
    assert evaluate(beside, found.placement).tpot_seconds >= evaluate(quick, found.placement).tpot_seconds


def test_a_plan_file_keeps_the_speculation(tmp_path: Path) -> None:
    """Guesses, their time and the held bytes are read as they were written."""
    problem = random_problem(3)
    device = next(d.name for d in problem.devices if d.executes)
    plan = solve(speculating(problem, 4, Acceptance(0.7, 0.5), 2e-3, {device: 1000}), stop=STOP)
    plan.save(tmp_path / "plan.json")
    read = PlanResult.load(tmp_path / "plan.json")
    assert read.problem == plan.problem and read.prediction == plan.prediction
    assert "4 guesses" in read.summary() and "the draft holds" in read.summary()


def test_nonsense_is_named() -> None:
    """Unknown devices, negative bytes and endless guessing are violations."""
    problem = random_problem(3)
    with pytest.raises(PlanError, match="unknown device moon holds something"):
        replace(problem, held={"moon": 5})
    with pytest.raises(PlanError, match="is -1 bytes"):
        replace(problem, held={problem.devices[0].name: -1})
    with pytest.raises(PlanError, match="guessing takes inf s"):
        replace(problem, workload=replace(problem.workload, draft_seconds=float("inf")))


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[llmdist.Session, llmdist.Session]]:
    """Yield a model and the same model as its draft, which guesses right."""
    folder = str(write_tiny(tmp_path_factory.mktemp("models") / "tiny", eos_token_id=None))
    pair = llmdist.load(folder, isolate=False), llmdist.load(folder, isolate=False)
    yield pair
    for session in pair:
        session.unload()


def test_a_session_plans_for_its_draft(sessions: tuple[llmdist.Session, llmdist.Session]) -> None:
    """The draft's planned bytes are held; a run shows how guesses fare, and the next plan expects that."""
    session, draft = sessions
    taken = draft.plan(context=128, seconds=0.2).prediction.peak_bytes["cpu"]
    first = session.plan(context=128, ram="1GiB", seconds=0.2, speculate=draft, draft_tokens=3)
    assert first.problem.held == {"cpu": taken} and first.problem.cap("cpu") == (1 << 30) - taken
    assert first.problem.workload.accepted == pytest.approx(1 + 0.6 + 0.36 + 0.216)
    plain = session.acceptance(draft)
    steps = list(session.generate(PROMPT, 60, speculate=draft, draft_tokens=3))
    assert len(steps) == 60 and plain.passes == 0
    seen = session.acceptance(draft)
    assert seen.passes >= 8 and seen.rate > 0.95, "the same model guesses right, but for rounding"
    second = session.plan(context=128, seconds=0.2, speculate=draft, draft_tokens=3)
    assert second.problem.workload.accepted == pytest.approx(session.stats.tokens_per_pass, rel=0.1)
    share = first.problem.workload.accepted / second.problem.workload.accepted
    same = evaluate(second.problem, first.placement)
    assert same.tpot_seconds == pytest.approx(first.prediction.tpot_seconds * share, rel=0.02)


def test_a_plan_during_a_speculated_run_keeps_the_speculation(
    sessions: tuple[llmdist.Session, llmdist.Session]
) -> None:
    """Planning again between two tokens is for the same guesses."""
    session, _ = sessions
    load = session.plan(context=128, seconds=0.2, speculate="ngram").problem.workload
    expected = [step.token_id for step in session.generate(PROMPT, 24)]
    tokens = []
    for step in session.generate(PROMPT, 24, speculate="ngram"):
        tokens.append(step.token_id)
        if step.index == 6:
            assert session.plan(seconds=0.2).problem.workload == load
    assert tokens == expected


def test_a_wrong_draft_is_refused_before_the_search(sessions: tuple[llmdist.Session, llmdist.Session]) -> None:
    """What `generate` refuses, `plan` refuses too."""
    session, _ = sessions
    with pytest.raises(GenerationError, match="give 'ngram'"):
        session.plan(speculate="oracle", seconds=0.2)
    with pytest.raises(GenerationError, match="draft tokens were asked"):
        session.plan(speculate="ngram", draft_tokens=0, seconds=0.2)
