"""Every check cell of the tutorials fails with a wrong answer and passes with the right one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import llmdist
from llmdist.errors import PlanError
from llmdist.hardware.profile import Device
from llmdist.lessons import ants, bits, counting_bytes, hiding, homes, machine, one_token, serving
from llmdist.lessons.verdict import Verdict
from llmdist.planner import MaxIterations, evaluate, solve
from llmdist_widgets.homes import tried

NONSENSE: tuple[Any, ...] = (None, "many", [], {}, (1, 2), float("nan"), float("inf"), 10**400, 1j, object(), print)
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
    assert puzzle.check(answer) and puzzle.check(tuple(answer))
    assert "1 of 3 fit" in puzzle.check([answer[1], answer[0], answer[2]]).words
    assert "0 of 3 fit" in puzzle.check([*answer[1:], answer[0]]).words
    for wrong in ([1.0, 1.0, 1.0], [0.3, 1.0], [0.3, 1.0, 2.0, 2.0], [0, 1, 2], 1.0, "0.3", *NONSENSE):
        verdict = puzzle.check(wrong)
        assert not verdict and "each of 0.3, 1.0, 2.0 once" in verdict.words


def test_kv_bytes_is_checked_on_real_shapes() -> None:
    """The formula passes; every slip gets its own hint, and what forgets an argument hears which."""
    assert counting_bytes.check_kv_bytes(lambda n, h, d, t, e: 2 * n * h * d * t * e)
    slips: dict[str, Callable[..., Any]] = {
        "keys and values": lambda n, h, d, t, e: n * h * d * t * e,
        "4 times": lambda n, h, d, t, e: 8 * n * h * d * t * e,
        "1.03 times": lambda n, h, d, t, e: 2.06 * n * h * d * t * e,
        "still to be written": lambda n, h, d, t, e: 0,
        "twice the layers": lambda n, h, d, t, e: 2 * h * d * t * e,
        "twice the kv_heads": lambda n, h, d, t, e: 2 * n * d * t * e,
        "twice the head_dim": lambda n, h, d, t, e: 2 * n * h * t * e,
        "twice the tokens": lambda n, h, d, t, e: 2 * n * h * d * (t + 1) * e,
        "twice the bytes_per_element": lambda n, h, d, t, e: 2 * n * h * d * t,
        "in fp32": lambda n, h, d, t, e: 2 * n * h * d * t * 2,
        "ZeroDivisionError": lambda n, h, d, t, e: 1 / 0,
        "TypeError": lambda n, h: 2 * n * h,
    }
    for words, function in slips.items():
        verdict = counting_bytes.check_kv_bytes(function)
        assert not verdict and words in verdict.words
    for nothing in NONSENSE:
        assert "no number" in counting_bytes.check_kv_bytes(lambda n, h, d, t, e, nothing=nothing: nothing).words
    assert "no function" in counting_bytes.check_kv_bytes(2 * 32 * 8 * 128 * 2).words


def test_the_largest_context_is_checked() -> None:
    """2 GiB hold 16384 tokens of Llama 3 8B; the hints name the side."""
    assert counting_bytes.check_largest_context(16384, 2 << 30)
    assert counting_bytes.check_largest_context(16100, 2 << 30)
    slips = {
        15259: "GiB or GB", 32768: "keys and values", 4096: "query heads",
        17000: "more than fit", 15900: "fewer than fit", -1: "fewer than fit",
    }  # fmt: skip
    for wrong, words in slips.items():
        verdict = counting_bytes.check_largest_context(wrong, 2 << 30)
        assert not verdict and words in verdict.words
    assert "more than fit" in counting_bytes.check_largest_context(30000, 2 << 30).words
    assert "fewer" in counting_bytes.check_largest_context(1000, 2 << 30).words


def test_tokens_per_second_are_checked() -> None:
    """bandwidth / bytes passes; bits for bytes and bf16 for int4 are named."""
    device = Device("cpu", "cpu", 1, 1, bandwidth=30e9, flops=1e12)
    right = machine.limit(device, 7e9, "int4")
    assert machine.check_tokens_per_second(right, device) and machine.check_tokens_per_second(0.95 * right, device)
    assert "share of a scale" in machine.check_tokens_per_second(30e9 / (7e9 * 0.5), device).words
    for near in (0.85 * right, 1.2 * right, 2 * right):
        assert "divide the bandwidth" in machine.check_tokens_per_second(near, device).words
    assert "bits or bytes" in machine.check_tokens_per_second(right / 8, device).words
    assert "bf16" in machine.check_tokens_per_second(30 / 14, device).words
    assert not machine.check_tokens_per_second(0.0, device)
    assert all(0.4 < point.share_of_limit < 0.9 for point in machine.PUBLISHED)


def test_the_textbook_colony_fails_and_can_be_repaired() -> None:
    """The tutorial's first colony misses the gap; more ants with a longer memory reach it; no ants are refused."""
    problem = ants.small_problem(seed=3)
    assert not ants.check_colony(ants.TextbookColony(ants=32, evaporation=0.5, beta=0), problem, seeds=2)
    assert ants.check_colony({"ants": 128, "evaporation": 0.03, "beta": 0}, problem, seeds=2)
    assert "without a plan that fits" in ants.check_colony({}, problem, seeds=1).words
    wrong = ({"ants": 0}, {"ants": 10**6}, {"ants": 2.5}, {"evaporation": 0}, {"evaporation": 1.5}, {"alpha": -1},
             {"beta": float("nan")})  # fmt: skip
    for parameters in wrong:
        assert "cannot walk" in ants.check_colony(parameters, problem).words
    for parameters in ({"legs": 6}, {"evaporation": "much"}, {3: 4}):
        assert "makes no colony" in ants.check_colony(parameters, problem).words
    with pytest.raises(PlanError, match="1 to 1000 ants"):
        ants.TextbookColony(ants=0)


def test_the_exact_answer_comes_first() -> None:
    """No method beats the exact search, and the product's colony equals it here."""
    found = {answer.method: answer.gap for answer in ants.answers(ants.small_problem(seed=3))}
    assert min(found.values()) == 0 and found["exact, every placement"] == 0
    assert found["llmdist's colony"] < 1e-9 and found["greedy"] > 0.3
    assert found["textbook colony"] == float("inf")


def test_the_bound_of_the_lesson_is_below_its_optimum() -> None:
    """The lesson says that the plan is the best there is and its gap cannot know; better bounds need other words."""
    plan, best = solve(ants.small_problem(seed=3), stop=MaxIterations(60)), ants.optimum(ants.small_problem(seed=3))
    assert plan.objective_seconds == pytest.approx(best) and plan.bound_seconds < 0.99 * best


def test_the_break_even_batch_is_checked_within_one() -> None:
    """The batch where the two ways cross passes, also one off; far ones are told the side."""
    made = hiding.problem()
    batch = hiding.break_even(made).batch
    assert batch is not None and batch > 2
    before, after = hiding.way_seconds(made, batch - 1), hiding.way_seconds(made, batch)
    assert before["streamed"] > before["on the CPU"] and after["streamed"] <= after["on the CPU"]
    assert hiding.check_break_even(batch, made) and hiding.check_break_even(batch + 1, made)
    assert "CPU is still faster" in hiding.check_break_even(1, made).words
    assert "CPU is still faster" in hiding.check_break_even(batch - 2, made).words
    assert "earlier" in hiding.check_break_even(batch + 2, made).words
    assert "no batch size" in hiding.check_break_even(0, made).words


def test_spread_copies_hide_better_than_a_run_of_them() -> None:
    """The same number of streamed blocks costs less when spread, and two slots less than one."""
    made = hiding.problem(slots=2)
    spread, together = (hiding.streaming(made, 13, together) for together in (False, True))
    assert spread.count("streamed") == together.count("streamed")
    assert evaluate(made, spread).tpot_seconds < evaluate(made, together).tpot_seconds
    one = hiding.problem(slots=1)
    assert evaluate(made, together).tpot_seconds < evaluate(one, together).tpot_seconds


def test_what_is_said_of_copies_and_computing_holds() -> None:
    """As many attention blocks are hidden as copies fit behind the computing; what is hidden prints as nothing."""
    made = hiding.problem(slots=2)
    fit = int(hiding.computing_seconds(made) / hiding.attention_copy_seconds(made))
    hidden = [every for every in (40, 20, 13, 10, 8) if not hiding.exposed_seconds(made, hiding.streaming(made, every))]
    assert [40 // every for every in hidden] == list(range(1, fit + 1))
    assert " 0.00 ms of it waiting" in hiding.in_words(made, hiding.streaming(made, 13))


def answers_of_any_type() -> dict[str, Callable[[Any], Verdict]]:
    """One check for each exercise that asks for a value."""
    made, judge, case = hiding.problem(), bits.judge(tales=1), serving.case()
    cpu, problem = Device("cpu", "cpu", 1, 1, bandwidth=30e9, flops=1e12), ants.small_problem(seed=3)
    placed, filled = homes.case(), homes.fill_in_order(homes.case())
    return {
        "lesson 2, formula": counting_bytes.check_kv_bytes,
        "lesson 2, context": lambda answer: counting_bytes.check_largest_context(answer, 2 << 30),
        "lesson 3": lambda answer: machine.check_tokens_per_second(answer, cpu),
        "lesson 4": lambda answer: tried(placed, filled, answer)[1],
        "lesson 5": lambda answer: hiding.check_break_even(answer, made),
        "lesson 6": lambda answer: bits.check_choice(answer, judge, 1_720_000),
        "lesson 7": lambda answer: ants.check_colony(answer, problem, seeds=1),
        "lesson 8": lambda answer: serving.check_paging_wins(answer, case),
    }


def test_an_answer_of_any_type_gets_one_sentence() -> None:
    """Not a number, a list, nothing at all: no traceback but one line that says what to give."""
    for name, check in answers_of_any_type().items():
        for answer in NONSENSE:
            verdict = check(answer)
            assert not verdict and verdict.words.endswith((".", "?")) and "\n" not in verdict.words, (name, answer)


def test_moves_that_are_none_leave_the_rule(session: llmdist.Session) -> None:
    """Unknown blocks and targets, and what is no text, are told; right ones are placed and priced."""
    made = homes.case()
    filled = homes.fill_in_order(made)
    wrong: dict[Any, str] = {"layers.99": "No block", "tail": "No block", 7: "no moves"}
    for blocks, words in wrong.items():
        placed, verdict = tried(made, filled, {blocks: "cpu"})
        assert placed is filled and not verdict and words in verdict.words
    assert "names no device" in tried(made, filled, {"head": "moon"})[1].words
    assert tried(made, filled, {"layers.39.mlp": "cpu", "layers.30.mlp": "disk>gpu"})[1]
    assert "asked" in tried(made, filled, {})[1].words
