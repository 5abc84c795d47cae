"""What a plan says of itself: what-if against evaluate, why against making the change, the bottleneck's numbers."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from llmdist.bench.random_problems import random_problem, rich_problem
from llmdist.errors import HardwareError, LlmdistError, ModelError, PlanError
from llmdist.hardware import machines
from llmdist.planner import Assignment, MaxIterations, PlanResult, Workload, evaluate, plan_for, solve, violations
from llmdist.planner.bottleneck import busy_seconds
from llmdist.planner.why import best_change

STOP = MaxIterations(4)


def plan_of(seed: int, blocks: int = 10) -> PlanResult:
    """Return a plan of a random problem for latency."""
    data = random_problem(seed, blocks).to_json() | {"objective": "latency"}
    return solve(type(random_problem(seed)).from_json(data), stop=STOP)


@pytest.mark.parametrize("seed", range(3))
def test_what_if_predicts_what_evaluate_predicts_for_the_changed_placement(seed: int) -> None:
    """Every single move has the prediction and the violations of the plain functions."""
    plan = plan_of(seed)
    for block in plan.problem.blocks[::3]:
        for option in plan.problem.options(block):
            found = plan.what_if({block.name: option})
            placement = plan.placement.moved({block.name: option})
            assert found.placement == placement
            assert list(found.violations) == violations(plan.problem, placement)
            expected = evaluate(plan.problem, placement)
            assert found.prediction.tpot_seconds == pytest.approx(expected.tpot_seconds, rel=1e-9)
            assert found.prediction.ttft_seconds == pytest.approx(expected.ttft_seconds, rel=1e-9)
            assert found.prediction.peak_bytes == expected.peak_bytes
            assert found.prediction.bytes_per_token == expected.bytes_per_token
            assert found.prediction.block_seconds == pytest.approx(expected.block_seconds)
            assert found.prediction.copy_seconds == pytest.approx(expected.copy_seconds)
            change = expected.tpot_seconds - plan.prediction.tpot_seconds
            assert found.tpot_change_seconds == pytest.approx(change, abs=1e-12)


def test_the_price_of_a_pass_is_paid_once_and_named_where_it_limits() -> None:
    """It delays the chain, not the copies; block times stay their own; the bottleneck says so."""
    problem = replace(rich_problem(0), objective="latency", workload=Workload(1, 64, 64))
    dear = replace(problem, devices=tuple(replace(d, pass_seconds=d.kind == "cpu" and 5.0) for d in problem.devices))
    plan = solve(problem, stop=STOP)
    before, after = plan.prediction, evaluate(dear, plan.placement)
    assert after.block_seconds == before.block_seconds
    assert 5.0 <= after.tpot_seconds <= 5.0 + before.tpot_seconds
    priced = solve(dear, stop=STOP)
    assert priced.bottleneck().startswith("The fixed price of a pass limits: 5.00 s of")


def test_what_if_reads_words_and_refuses_unknown_ones() -> None:
    """A move may be written as words; unknown blocks, devices and shapes of words are PlanErrors."""
    plan = plan_of(2)
    name = plan.placement.blocks[1]
    words = plan.what_if({name: "cpu disk bf16"})
    assert words.placement[name] == Assignment("cpu", "disk", "bf16")
    for moves in ({"layers.99.mlp": "cpu disk bf16"}, {name: "cpu moon bf16"}, {name: "cpu disk"}):
        with pytest.raises(PlanError):
            plan.what_if(moves)


@pytest.mark.parametrize("seed", range(4))
def test_why_states_the_change_that_evaluate_confirms(seed: int) -> None:
    """The best change fits, is as dear as stated, and no single move of the block is cheaper."""
    plan = plan_of(seed)
    for block in plan.problem.blocks[1::4]:
        change = best_change(plan, block.name)
        sentence = plan.why(block.name)
        assert sentence.startswith(block.name) and sentence.endswith(".") and "\n" not in sentence
        if change is None:
            assert "no other choice fits" in sentence
            continue
        moved = plan.placement.moved(change.moves)
        assert violations(plan.problem, moved) == [] and len(change.moves) <= 2
        after = evaluate(plan.problem, moved).tpot_seconds - plan.objective_seconds
        assert change.seconds == pytest.approx(after, abs=1e-9)
        singles = [
            evaluate(plan.problem, plan.placement.moved({block.name: option})).tpot_seconds
            for option in plan.problem.options(block)
            if option != plan.placement[block.name]
            and not violations(plan.problem, plan.placement.moved({block.name: option}))
        ]
        with_effect = [s for s in singles if abs(s - plan.objective_seconds) > 1e-9 * plan.objective_seconds]
        assert change.seconds <= min(with_effect, default=float("inf")) - plan.objective_seconds + 1e-9


def test_why_names_the_swap_the_bytes_and_the_milliseconds() -> None:
    """Under a tight cap a block on disk says what RAM would need, what is free, and what the swap costs."""
    data = random_problem(0, 12).to_json()
    data |= {"objective": "latency", "devices": [d for d in data["devices"] if d["kind"] != "cuda"]}
    data["links"] = [k for k in data["links"] if "cuda:0" not in (k["source"], k["target"])]
    data["caps"] = {"cpu": int(sum(b["parameters"] for b in data["blocks"]) * 2 * 0.7)}
    plan = solve(type(random_problem(0)).from_json(data), stop=STOP)
    streamed = [name for name, choice in plan.placement.items() if choice.mode == "streamed"]
    sentences = [plan.why(name) for name in streamed]
    room = r"would need [\d.]+ MiB more in cpu and [\d.]+ \w+ are free; swapping it with layers"
    assert any(re.search(room, sentence) for sentence in sentences)
    assert all(re.search(r"(loses|gains|changes nothing)", s) for s in sentences)


def test_why_of_a_locked_block_names_the_lock() -> None:
    """A pinned block stays where it is while the others are planned around it, and says so."""
    problem = random_problem(2)
    name = problem.blocks[1].name
    lock = Assignment("cpu", "disk", "bf16")
    locked = solve(type(problem)(**{**_fields(problem), "locks": {name: lock}}), stop=STOP)
    assert locked.placement[name] == lock and "locked" in locked.why(name)
    with pytest.raises(PlanError, match=r"layers\.99"):
        locked.why("layers.99.mlp")


def _fields(problem: object) -> dict[str, object]:
    return {name: getattr(problem, name) for name in problem.__slots__}  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(4))
def test_the_bottleneck_is_the_busiest_part_or_says_that_parts_wait(seed: int) -> None:
    """The sentence names the resource that is in use longest, which no token's time falls below."""
    plan = plan_of(seed)
    busy = busy_seconds(plan)
    sentence = plan.bottleneck()
    name, longest = max(busy.items(), key=lambda item: item[1])
    assert longest <= plan.prediction.tpot_seconds * (1 + 1e-9)
    waits = "No part alone" in sentence or "in turn" in sentence
    assert waits == (longest < 0.9 * plan.prediction.tpot_seconds and len(busy) > 1)
    assert name in sentence or name == "activations"


def test_the_cpus_part_of_split_blocks_counts_as_the_cpus_time() -> None:
    """Where its memory is what a token waits for, the sentence names the CPU, and the numbers fit each other."""
    plan = plan_for("llama-2-13b", "rtx4090", precision="bf16", context=512, seconds=0.3)
    moves = {b.name: Assignment("cuda:0", "cuda:0", "bf16", 7) for b in plan.problem.blocks if b.kind == "mlp"}
    placement = plan.placement.moved(moves)
    split = replace(plan, placement=placement, prediction=evaluate(plan.problem, placement))
    sentence = split.bottleneck()
    rate, milliseconds = re.search(r"The memory of cpu limits: .* at (\d+) GB/s takes ([\d.]+) ms", sentence).groups()  # type: ignore[union-attr]
    weights = sum(b.weight_bytes("bf16") * 7 / 8 for b in plan.problem.blocks if b.kind == "mlp")
    assert weights / (float(rate) * 1e9) == pytest.approx(float(milliseconds) / 1e3, rel=0.01)


def test_a_limiting_link_tells_its_own_bytes() -> None:
    """With several links to disks the bytes, at the link's rate, take the time that is told."""
    sentence = plan_for("llama-3-70b", "four-1g", seconds=0.3).bottleneck()
    found = re.search(r"busy ([\d.]+) s of .* copying ([\d.]+) GiB at ([\d.]+) GB/s", sentence)
    assert found is not None, sentence
    seconds, size, rate = map(float, found.groups())
    assert size * 2**30 / (rate * 1e9) == pytest.approx(seconds, rel=0.02)


def test_a_plan_for_a_machine_one_does_not_own_says_simulated_beside_every_number() -> None:
    """No line of the summary and no sentence has numbers without that word."""
    plan = plan_for("llama-2-13b", "rtx4090", seconds=0.3)
    assert plan.simulated and plan.machine == "rtx4090"
    lines = plan.summary().splitlines()
    assert all("simulated" in line for line in (lines[0], lines[-2], lines[-1]))
    assert "simulated" in plan.bottleneck() and "simulated" in plan.why("layers.7.mlp")
    assert 5 < plan.prediction.tokens_per_second < 80


def test_a_simulated_plan_may_use_precisions_that_this_version_does_not_execute() -> None:
    """13B in int4 fits where bf16 does not, and is faster."""
    wide, narrow = (plan_for("llama-2-13b", "rtx3060", precision=p, seconds=0.3) for p in ("fp16", "int8,int4"))
    assert narrow.placement.count("resident") == len(narrow.placement.blocks)
    assert narrow.prediction.tokens_per_second > 2 * wide.prediction.tokens_per_second


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("llama-9", "rtx4090"), ModelError),
        (("llama-2-7b", "abacus"), HardwareError),
    ],
)
def test_unknown_names_are_refused(arguments: tuple[str, str], error: type[LlmdistError]) -> None:
    """The error lists the known names."""
    with pytest.raises(error, match="choose one of"):
        plan_for(*arguments)
    with pytest.raises(PlanError, match="int3"):
        plan_for("llama-2-7b", machines()[0], precision="int3")


def test_the_cost_tables_of_a_plan_are_made_once() -> None:
    """Every what-if of the same plan after the first reuses them."""
    plan = plan_of(1, 30)
    name = plan.placement.blocks[11]
    from llmdist.planner import what_if as module

    made = []
    original = module.cost_tables
    module.cost_tables = lambda problem: made.append(1) or original(problem)  # type: ignore[assignment,func-returns-value]
    try:
        for _ in range(5):
            plan.what_if({name: "cpu disk bf16"})
    finally:
        module.cost_tables = original
    assert len(made) <= 1
