"""Experts on demand: only chosen experts are read, in the bytes and the memory that the plan counts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from running import placement_of
from tiny import write_tiny

import llmdist
from llmdist.cost.memory import peak_bytes
from llmdist.errors import ModelError
from llmdist.executor import Executor
from llmdist.hardware.profile import Device, HardwareProfile, Link
from llmdist.model.checkpoint import Checkpoint
from llmdist.planner import evaluate
from llmdist.planner.build import build_problem
from llmdist.planner.placement import Assignment, Placement

PROMPT = [5, 77, 300, 12, 9, 41, 8, 100, 3]
QWEN3_MOE = {"num_experts": 16, "num_experts_per_tok": 3, "moe_intermediate_size": 32, "norm_topk_prob": True}
CASES: list[tuple[str, dict[str, Any]]] = [("mixtral", {}), ("qwen3_moe", QWEN3_MOE)]
SIZES = {"hidden_size": 64, "head_dim": 16, "intermediate_size": 64}  # no padding between experts
DEVICES = (Device("cpu", "cpu", 1 << 34, 1 << 34, 1e10, 1e11, 1e-5), Device("disk", "disk", 1 << 40, 1 << 40, 1e9))
MACHINE = HardwareProfile("test", DEVICES, (Link("disk", "cpu", 1e9, 1e-4),), "2026-11-27")


def on_demand(blocks: tuple[str, ...], streamed: set[str], precision: str = "fp32") -> Placement:
    """Return a placement with all experts on demand, and the blocks in `streamed` streamed."""
    base = placement_of(blocks, streamed, precision)
    return base.moved({n: Assignment("cpu", "disk", precision, 0, True) for n in blocks if ".experts." in n})


def greedy(executor: Executor, count: int = 12) -> tuple[list[int], list[int]]:
    """Return greedy tokens and the bytes that each pass moved."""
    tokens, moved, step, position = list[int](), list[int](), PROMPT, 0
    for _ in range(count):
        done = executor.run([step], [position])
        position += len(step)
        step = [int(done.logits.argmax())]
        tokens += step
        moved.append(done.bytes_moved)
    executor.close()
    return tokens, moved


@pytest.mark.parametrize(("family", "overrides"), CASES)
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_tokens_are_those_of_resident_experts(
    tmp_path: Path, family: str, overrides: dict[str, Any], precision: str
) -> None:
    """With every other block resident or streamed, chosen experts give the tokens of resident ones, to the bit."""
    checkpoint = Checkpoint.open(write_tiny(tmp_path / "model", family, eos_token_id=None, num_layers=3, **overrides))
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    resident = Executor(checkpoint, placement_of(blocks, set(), precision), 64)
    expected = [resident.forward(torch.tensor([PROMPT]), 0).logits, resident.forward(torch.tensor([[7]]), 9).logits]
    others = {name for name in blocks if ".experts." not in name}
    for streamed in (set[str](), others):
        executor = Executor(checkpoint, on_demand(blocks, streamed, precision), 64)
        assert torch.equal(executor.forward(torch.tensor([PROMPT]), 0).logits, expected[0])
        assert torch.equal(executor.forward(torch.tensor([[7]]), 9).logits, expected[1])
        executor.close()
    resident.close()


@pytest.mark.parametrize(("family", "overrides"), CASES)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_bytes_and_memory_are_those_of_the_plan(
    tmp_path: Path, family: str, overrides: dict[str, Any], precision: str
) -> None:
    """A token reads as many experts as it is routed to, which is what the plan expects; slots are what it counts."""
    folder = write_tiny(tmp_path / "model", family, eos_token_id=None, num_layers=3, **{**overrides, **SIZES})
    checkpoint = Checkpoint.open(folder)
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    problem = build_problem(checkpoint.profile, MACHINE, precision=precision, context=64)
    placement = on_demand(blocks, set(), precision)
    planned = peak_bytes(problem, placement)["cpu"] - problem.workspace_bytes
    executor = Executor(checkpoint, placement, 64, slots=problem.slots)
    assert executor.held_bytes == planned
    tokens, moved = greedy(executor)
    config = checkpoint.config
    whole = sum(block.weight_bytes(precision) for block in checkpoint.profile.blocks if block.kind == "experts")
    routed = whole * config.experts_per_token // config.num_experts
    assert len(tokens) == 12 and moved[1:] == [routed] * 11, "a token reads its own experts and no other"
    assert moved[0] <= whole
    assert evaluate(problem, placement).bytes_per_token == pytest.approx(routed, rel=0.01)


def test_streamed_blocks_leave_a_slot_for_experts(tmp_path: Path) -> None:
    """Streamed attention beside experts on demand takes no more slots than the plan counts."""
    checkpoint = Checkpoint.open(write_tiny(tmp_path / "model", "mixtral", num_layers=2, **SIZES))
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    problem = build_problem(checkpoint.profile, MACHINE, precision="fp32", context=64)
    placement = on_demand(blocks, {name for name in blocks if name.endswith("attention")})
    executor = Executor(checkpoint, placement, 64, slots=problem.slots)
    planned = peak_bytes(problem, placement)["cpu"] - problem.workspace_bytes
    expert = 3 * 64 * 64 * 4
    assert planned - expert < executor.held_bytes <= planned
    executor.close()


def test_a_batch_reads_each_chosen_expert_once(tmp_path: Path) -> None:
    """Five sequences of different lengths read no expert twice, and give the tokens that they give alone."""
    checkpoint = Checkpoint.open(write_tiny(tmp_path / "model", "mixtral", num_layers=2, **SIZES))
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    prompts = [PROMPT[:n] for n in (2, 3, 5, 7, 9)]
    together = Executor(checkpoint, on_demand(blocks, set()), 64, batch=5)
    done = together.run(prompts, [0] * 5)
    together.close()
    assert done.bytes_moved <= sum(b.weight_bytes("fp32") for b in checkpoint.profile.blocks if b.kind == "experts")
    for row, prompt in enumerate(prompts):
        alone = Executor(checkpoint, on_demand(blocks, set()), 64)
        torch.testing.assert_close(done.logits[row], alone.run([prompt], [0]).logits[0], rtol=1e-3, atol=1e-3)
        alone.close()


def test_a_cut_file_is_one_sentence_and_the_next_pass_is_whole(tmp_path: Path) -> None:
    """An expert that cannot be read names the file; once restored, the same executor goes on."""
    folder = write_tiny(tmp_path / "model", "mixtral", num_layers=2, **SIZES)
    checkpoint, file = Checkpoint.open(folder), folder / "model.safetensors"
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    executor = Executor(checkpoint, on_demand(blocks, set()), 64)
    expected = executor.forward(torch.tensor([PROMPT]), 0).logits
    content = file.read_bytes()
    os.truncate(file, 4000)
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        executor.forward(torch.tensor([PROMPT]), 0)
    file.write_bytes(content)
    assert torch.equal(executor.forward(torch.tensor([PROMPT]), 0).logits, expected)
    executor.close()


def test_a_session_plans_and_runs_experts_on_demand(tmp_path: Path) -> None:
    """Under a cap that holds no layer of experts the plan reads them on demand, and the text stays the same."""
    overrides = {**QWEN3_MOE, **SIZES, "moe_intermediate_size": 512}
    folder = write_tiny(tmp_path / "model", "qwen3_moe", eos_token_id=None, num_layers=3, **overrides)
    session = llmdist.load(str(folder), isolate=False)
    roomy = session.plan(context=64, seconds=0.2)
    expected = [step.token_id for step in session.generate(PROMPT, 12)]
    experts = sum(b.weight_bytes("fp32") for b in session.profile.blocks if b.kind == "experts")
    tight = session.plan(ram=roomy.prediction.peak_bytes["cpu"] - experts * 3 // 4, context=64, seconds=0.5)
    assert tight.placement.count("demand") > 0
    steps = list(session.generate(PROMPT, 12))
    assert [step.token_id for step in steps] == expected
    mean = sum(step.bytes_moved for step in steps[1:]) / len(steps[1:])
    assert mean == pytest.approx(tight.prediction.bytes_per_token, rel=0.25)
    session.unload()
