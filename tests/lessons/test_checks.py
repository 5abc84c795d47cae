"""Every check cell of the tutorials fails with a wrong answer and passes with the right one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import llmdist
from llmdist.errors import PlanError
from llmdist.hardware.profile import Device
from llmdist.lessons import ants, counting_bytes, hiding, machine, one_token
from llmdist.planner import evaluate

PROMPT = "One day Anna the ant walked to the"


@pytest.fixture(scope="module")
def session() -> Iterator[llmdist.Session]:
    """The demo model, inline."""
    session = llmdist.load("demo", isolate=False)
    session.plan(context=256, seconds=0.2)
    yield session
    session.unload()


def test_probabilities_are_what_greedy_generation_follows(session: llmdist.Session) -> None:
    """Rows sum to one, and the most probable token of each is the one that is generated."""
    tokens = [step.token_id for step in session.generate(PROMPT, max_new_tokens=6)]
    probabilities = session.probabilities(PROMPT, tokens)
    assert probabilities.shape == (7, session.profile.vocab_size)
    assert np.allclose(probabilities.sum(1), 1)
    assert probabilities[:-1].argmax(1).tolist() == tokens
    first = one_token.most_probable(session, PROMPT, 3)[0]
    assert first.token_id == tokens[0] and first.probability == pytest.approx(probabilities[0].max())


def test_temperature_bends_probabilities_and_entropy_tells() -> None:
    """Tempering equals softmax(logits / T); entropy is 0 bits for certainty and log2 n for equal chances."""
    logits = np.array([[2.0, 1.0, -1.0]])
    plain = np.exp(logits) / np.exp(logits).sum()
    hot = np.exp(logits / 2) / np.exp(logits / 2).sum()
    assert np.allclose(one_token.tempered(plain, 2.0), hot)
    assert one_token.entropy_bits(np.array([[1.0, 0.0]])) == pytest.approx(0)
    assert one_token.entropy_bits(np.full((1, 8), 1 / 8)) == pytest.approx(3)


def test_the_mystery_is_solved_by_surprise_only_in_the_right_order(session: llmdist.Session) -> None:
    """Ordering the texts by surprise solves the puzzle of the tutorial; another order does not."""
    puzzle = one_token.mystery(session, PROMPT, seed=4)
    bits = [one_token.surprise_bits(session, PROMPT, ids) for ids in puzzle.token_ids]
    answer = [sorted(one_token.TEMPERATURES)[sorted(bits).index(b)] for b in bits]
    assert puzzle.check(answer)
    assert not puzzle.check([answer[1], answer[0], answer[2]])
    assert "once" in puzzle.check([1.0, 1.0, 1.0]).words


def test_kv_bytes_is_checked_on_real_shapes() -> None:
    """The formula passes; forgetting the values, counting query heads or returning nothing each gets its own hint."""
    assert counting_bytes.check_kv_bytes(lambda n, h, d, t, e: 2 * n * h * d * t * e)
    assert "keys and values" in counting_bytes.check_kv_bytes(lambda n, h, d, t, e: n * h * d * t * e).words
    assert "query heads" in counting_bytes.check_kv_bytes(lambda n, h, d, t, e: 8 * n * h * d * t * e).words
    assert "no number" in counting_bytes.check_kv_bytes(lambda n, h, d, t, e: None).words
    assert "ZeroDivisionError" in counting_bytes.check_kv_bytes(lambda n, h, d, t, e: 1 / 0).words


def test_the_largest_context_is_checked() -> None:
    """2 GiB hold 16384 tokens of Llama 3 8B; the hints name the side."""
    assert counting_bytes.check_largest_context(16384, 2 << 30)
    assert "more than fit" in counting_bytes.check_largest_context(30000, 2 << 30).words
    assert "fewer" in counting_bytes.check_largest_context(1000, 2 << 30).words


def test_tokens_per_second_are_checked() -> None:
    """bandwidth / bytes passes; bits for bytes and bf16 for int4 are named."""
    device = Device("cpu", "cpu", 1, 1, bandwidth=30e9, flops=1e12)
    right = machine.limit(device, 7e9, "int4")
    assert machine.check_tokens_per_second(right, device)
    assert "bits or bytes" in machine.check_tokens_per_second(right / 8, device).words
    assert "bf16" in machine.check_tokens_per_second(30 / 14, device).words
    assert not machine.check_tokens_per_second(0.0, device)
    assert all(0.4 < point.share_of_limit < 0.9 for point in machine.PUBLISHED)


def test_the_textbook_colony_fails_and_can_be_repaired() -> None:
    """The tutorial's first colony misses the gap; more ants with a longer memory reach it; no ants are refused."""
    problem = ants.small_problem(seed=3)
    assert not ants.check_colony(ants.TextbookColony(ants=32, evaporation=0.5, beta=0), problem, seeds=2)
    assert ants.check_colony(ants.TextbookColony(ants=128, evaporation=0.03, beta=0), problem, seeds=2)
    with pytest.raises(PlanError, match="at least 1 ant"):
        ants.TextbookColony(ants=0)


def test_the_exact_answer_comes_first() -> None:
    """No method beats the exact search, and the product's colony equals it here."""
    found = {answer.method: answer.gap for answer in ants.answers(ants.small_problem(seed=3))}
    assert min(found.values()) == 0 and found["exact, every placement"] == 0
    assert found["llmdist's colony"] < 1e-9 and found["greedy"] > 0.3


def test_the_break_even_batch_is_checked_within_one() -> None:
    """The batch where the two ways cross passes, also one off; far ones are told the side."""
    made = hiding.problem()
    batch = hiding.break_even(made).batch
    assert batch is not None and batch > 2
    before, after = hiding.way_seconds(made, batch - 1), hiding.way_seconds(made, batch)
    assert before["streamed"] > before["on the CPU"] and after["streamed"] <= after["on the CPU"]
    assert hiding.check_break_even(batch, made) and hiding.check_break_even(batch + 1, made)
    assert "CPU is still faster" in hiding.check_break_even(1, made).words
    assert "earlier" in hiding.check_break_even(10 * batch, made).words
    assert not hiding.check_break_even("many", made)  # type: ignore[arg-type]


def test_spread_copies_hide_better_than_a_run_of_them() -> None:
    """The same number of streamed blocks costs less when spread, and two slots less than one."""
    made = hiding.problem(slots=2)
    spread, together = (hiding.streaming(made, 13, together) for together in (False, True))
    assert spread.count("streamed") == together.count("streamed")
    assert evaluate(made, spread).tpot_seconds < evaluate(made, together).tpot_seconds
    one = hiding.problem(slots=1)
    assert evaluate(made, together).tpot_seconds < evaluate(one, together).tpot_seconds
