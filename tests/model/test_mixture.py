"""Mixtures of experts: the tokens of transformers, blocks that add up, and only routed experts compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from running import greedy_tokens, placement_of, reference_tokens
from tiny import write_tiny
from transformers import AutoModelForCausalLM

from llmdist.executor import Executor
from llmdist.model.checkpoint import Checkpoint

PROMPT = [5, 77, 300, 12, 9, 41, 8, 100, 3]
MIXTRAL = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 6}
QWEN3_MOE = {
    "num_experts": 11, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "norm_topk_prob": True,
    "mlp_only_layers": [0],
}  # fmt: skip
SPARSE = {**QWEN3_MOE, "norm_topk_prob": False, "decoder_sparse_step": 2, "mlp_only_layers": []}
CASES = [("mixtral", MIXTRAL), ("qwen3_moe", QWEN3_MOE), ("qwen3_moe", SPARSE)]


@pytest.mark.parametrize(("family", "overrides"), CASES)
def test_mixtures_give_the_tokens_of_transformers(tmp_path: Path, family: str, overrides: dict[str, Any]) -> None:
    """Experts resident, half-streamed and all streamed: the float32 tokens are those of transformers."""
    folder = write_tiny(tmp_path / "model", family, eos_token_id=None, num_layers=3, **overrides)
    expected = reference_tokens(folder, PROMPT, 14)
    checkpoint = Checkpoint.open(folder)
    blocks = [block.name for block in checkpoint.profile.blocks]
    for streamed in (set(), set(blocks[::2]), set(blocks)):
        for streaming in (True, False):
            assert greedy_tokens(checkpoint, streamed, PROMPT, 14, streaming) == expected


@pytest.mark.parametrize(("family", "overrides"), CASES[:2])
def test_bf16_logits_of_mixtures_are_within_tolerance(
    tmp_path: Path, family: str, overrides: dict[str, Any]
) -> None:
    """In bf16 the logits differ from transformers' bf16 by less than 3 % of their spread."""
    folder = write_tiny(tmp_path / "model", family, dtype="bfloat16", num_layers=3, **overrides)
    checkpoint = Checkpoint.open(folder)
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    executor = Executor(checkpoint, placement_of(blocks, set(blocks[1:4]), "bf16"), 64)
    logits = executor.forward(torch.tensor([PROMPT]), 0).logits[0]
    executor.close()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    expected = model(torch.tensor([PROMPT])).logits[0, -1].float()
    assert (logits - expected).abs().max() < 0.03 * (expected.max() - expected.min())


def test_the_blocks_of_a_mixture_add_up(tmp_path: Path) -> None:
    """All weights are counted once; a token reads and multiplies top_k / E of the experts'."""
    folder = write_tiny(tmp_path / "model", "qwen3_moe", num_layers=2, **QWEN3_MOE)
    model = AutoModelForCausalLM.from_pretrained(folder)
    profile = Checkpoint.open(folder).profile
    assert profile.parameters == sum(p.numel() for p in model.parameters())
    groups = [block for block in profile.blocks if block.kind == "experts"]
    assert [block.name for block in groups] == [f"layers.1.experts.{i}" for i in range(8)]
    assert [block.experts for block in groups] == [1, 1, 2, 1, 1, 2, 1, 2]
    one_expert = 3 * 80 * 24
    assert sum(block.parameters for block in groups) == 11 * one_expert
    assert sum(block.parameters_per_token for block in groups) == pytest.approx(3 * one_expert, abs=len(groups))
    assert sum(block.flops_per_token for block in groups) == pytest.approx(2 * 3 * one_expert)
    router = next(block for block in profile.blocks if block.kind == "router")
    assert (router.name, router.parameters, router.flops_per_token) == ("layers.1.router", 80 + 11 * 80, 2 * 11 * 80)
    dense = next(block for block in profile.blocks if block.kind == "mlp")
    assert (dense.name, dense.parameters) == ("layers.0.mlp", 80 + 3 * 80 * 144)


def test_each_expert_of_mixtral_is_a_block(tmp_path: Path) -> None:
    """Eight experts are eight blocks a layer."""
    checkpoint = Checkpoint.open(write_tiny(tmp_path / "model", "mixtral", num_layers=1))
    groups = [block for block in checkpoint.profile.blocks if block.kind == "experts"]
    assert [(block.experts, block.routed_share) for block in groups] == [(1, 0.25)] * 8


def test_experts_that_no_token_goes_to_are_not_read(tmp_path: Path) -> None:
    """Copying when needed, one decode step of top 2 of 8 reads two experts a layer and no other."""
    checkpoint = Checkpoint.open(write_tiny(tmp_path / "model", "mixtral", num_layers=2))
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    experts = {name for name in blocks if ".experts." in name}
    executor = Executor(checkpoint, placement_of(blocks, experts), 64, streaming=False)
    executor.forward(torch.tensor([PROMPT]), 0)
    step = executor.forward(torch.tensor([[3]]), len(PROMPT))
    executor.close()
    assert len(step.copies) == 4
    assert step.bytes_moved == 4 * 3 * 80 * 144 * 4
