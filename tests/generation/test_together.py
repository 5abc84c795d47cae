"""Batches and speculation change how many passes there are, never the tokens."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import write_tiny

import llmdist
from llmdist.errors import GenerationError
from llmdist.generation import NgramDraft

PROMPTS = [[5, 77, 300], [12, 9, 41, 8, 100, 7, 3, 55], [2, 2], [91, 92, 93]]
NEW = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny float32 model that never ends a text by itself."""
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny", eos_token_id=None)


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[llmdist.Session]:
    """Yield a session for four sequences, half of the blocks streamed."""
    session = llmdist.load(str(folder))
    roomy = session.plan(context=64, batch=4, seconds=0.3)
    weights = sum(block.weight_bytes("fp32") for block in session.profile.blocks)
    plan = session.plan(ram=roomy.prediction.peak_bytes["cpu"] - weights // 3, context=64, batch=4, seconds=0.3)
    assert plan.placement.count("streamed") > 1
    yield session
    session.unload()


@pytest.fixture(scope="module")
def alone(session: llmdist.Session) -> list[list[int]]:
    """Return the greedy tokens of every prompt by itself."""
    return [[step.token_id for step in session.generate(prompt, NEW)] for prompt in PROMPTS]


def together(session: llmdist.Session, **options: object) -> list[list[int]]:
    """Return the tokens of all prompts in one batch."""
    found: list[list[int]] = [[] for _ in PROMPTS]
    for step in session.generate_batch(PROMPTS, NEW, **options):  # type: ignore[arg-type]
        for tokens, token in zip(found, step.token_ids, strict=True):
            tokens += [] if token is None else [token]
    return found


def test_a_batch_gives_each_sequence_its_own_tokens(session: llmdist.Session, alone: list[list[int]]) -> None:
    """Four prompts of different lengths together have the tokens of four runs, for the bytes of one."""
    list(session.generate(PROMPTS[0], NEW))
    bytes_of_one = session.stats.bytes_moved
    assert together(session) == alone
    assert session.stats.tokens == 4 * NEW and session.stats.passes == NEW
    assert session.stats.bytes_moved < 1.1 * bytes_of_one


def test_each_sequence_ends_by_itself(session: llmdist.Session) -> None:
    """A stop string ends the sequence that says it; the others go on, each with the text it has alone."""
    texts = []
    for prompt in PROMPTS:
        list(session.generate(prompt, NEW))
        texts.append(session.text)
    stop = next(text[3:6] for text in texts if sum(text[3:6] in other for other in texts) < len(texts))
    together(session, stop=[stop])
    assert session.texts == [text.split(stop)[0] for text in texts]
    assert session.stats.tokens < 4 * NEW and session.stats.finish_reason == "mixed"


def test_seeds_of_a_batch_are_those_of_single_runs(session: llmdist.Session) -> None:
    """The i-th sequence draws what a run alone draws from the seed plus i."""
    options = {"temperature": 1.2, "top_k": 50}
    expected = [
        [step.token_id for step in session.generate(prompt, NEW, seed=7 + i, **options)]  # type: ignore[arg-type]
        for i, prompt in enumerate(PROMPTS)
    ]
    assert together(session, seed=7, **options) == expected


def test_a_killed_engine_loses_no_token_of_a_batch(session: llmdist.Session, alone: list[list[int]]) -> None:
    """SIGKILL in the middle of a batch: every sequence goes on to the tokens it would have had."""
    found: list[list[int]] = [[] for _ in PROMPTS]
    for step in session.generate_batch(PROMPTS, NEW):
        for tokens, token in zip(found, step.token_ids, strict=True):
            tokens += [] if token is None else [token]
        if step.index == 5:
            assert session.engine_pid is not None
            os.kill(session.engine_pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    assert found == alone and session.stats.restarts == 1


def test_prompt_lookup_gives_the_plain_tokens_in_fewer_passes(
    session: llmdist.Session, alone: list[list[int]]
) -> None:
    """A text that repeats itself is guessed; what is guessed wrong leaves no trace."""
    passes = 0
    for prompt, expected in zip(PROMPTS, alone, strict=True):
        found = [step.token_id for step in session.generate(prompt, NEW, speculate="ngram", draft_tokens=3)]
        assert found == expected
        passes += session.stats.passes
    assert session.stats.tokens == NEW
    repeated = PROMPTS[0] + alone[0] + PROMPTS[0]
    list(session.generate(repeated, 8, speculate="ngram"))
    assert session.stats.drafted >= session.stats.accepted >= 0
    assert session.stats.passes == session.stats.tokens - session.stats.accepted


@pytest.mark.parametrize("seed", [0, 5])
def test_a_draft_model_gives_the_plain_tokens(
    session: llmdist.Session, alone: list[list[int]], tmp_path: Path, seed: int
) -> None:
    """A draft with the same weights is always right and saves passes; one with others is not and changes nothing."""
    folder = write_tiny(tmp_path / "draft", eos_token_id=None, seed=seed, num_layers=4 if seed == 0 else 1)
    draft = llmdist.load(str(folder), isolate=False)
    draft.plan(context=64, seconds=0.2)
    for prompt, expected in zip(PROMPTS[:2], alone, strict=False):
        found = [step.token_id for step in session.generate(prompt, NEW, speculate=draft, draft_tokens=4)]
        assert found == expected
        if seed == 0:
            assert session.stats.acceptance == 1 and session.stats.passes <= 2 + NEW // 5
        else:
            assert session.stats.drafted > 0
    draft.unload()


def test_speculation_draws_the_same_sample(session: llmdist.Session) -> None:
    """With a seed, the sampled tokens are those without speculation."""
    options = {"temperature": 0.6, "seed": 3}
    runs = [
        [step.token_id for step in session.generate(PROMPTS[1], NEW, speculate=how, **options)]  # type: ignore[arg-type]
        for how in (None, "ngram")
    ]
    assert runs[0] == runs[1]


def test_lookup_takes_the_longest_and_latest_match() -> None:
    """The tail of the text decides, and what followed its latest earlier place is the guess."""
    draft = NgramDraft(longest=3, shortest=2)
    assert draft.propose([1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], 2) == (4, 9)
    assert draft.propose([2, 3, 4, 2, 3, 5, 2, 3], 1) == (5,)
    assert draft.propose([1, 2, 3], 4) == ()


@pytest.mark.parametrize(
    ("prompts", "options", "words"),
    [
        ([], {}, "at least one prompt"),
        ("text", {}, "list of at least one"),
        ([[1]] * 5, {}, "plan again with batch=5"),
        ([[1], []], {}, "no tokens"),
        ([[1]], {"max_new_tokens": 0}, "whole number"),
    ],
)
def test_a_wrong_batch_is_refused_before_it_starts(
    session: llmdist.Session, prompts: object, options: dict[str, object], words: str
) -> None:
    """Each unusable batch names itself."""
    with pytest.raises(GenerationError, match=words):
        session.generate_batch(prompts, **{"max_new_tokens": 8, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"speculate": "magic"}, "'ngram'"),
        ({"speculate": "ngram", "draft_tokens": 0}, "draft tokens"),
        ({"speculate": "ngram", "draft_tokens": 99}, "draft tokens"),
    ],
)
def test_wrong_speculation_is_refused(session: llmdist.Session, options: dict[str, object], words: str) -> None:
    """Each unusable option names itself, and so does a session that would draft for itself."""
    with pytest.raises(GenerationError, match=words):
        session.generate(PROMPTS[0], 8, **options)  # type: ignore[arg-type]
    with pytest.raises(GenerationError, match="this session"):
        session.generate(PROMPTS[0], 8, speculate=session)
