"""The executor gives the tokens of transformers, wherever the blocks live."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from running import greedy_tokens, placement_of, reference_tokens
from tiny import write_tiny

from llmdist.demo import model_path
from llmdist.executor import Executor
from llmdist.model.checkpoint import Checkpoint

PROMPT = [5, 77, 300, 12, 9, 41, 8]
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")  # the others: tests/model/test_families.py
CASES = [
    *((family, tie, {}) for family in FAMILIES for tie in (False, True)),
    ("llama", False, {"rope_parameters": LLAMA3}),
    ("llama", False, {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}}),
    ("llama", False, {"num_key_value_heads": 4, "attention_bias": True}),
]


def streamed_sets(checkpoint: Checkpoint) -> list[set[str]]:
    """Return resident, every second block streamed, and all streamed."""
    blocks = [block.name for block in checkpoint.profile.blocks]
    return [set(), set(blocks[::2]), set(blocks)]


@pytest.mark.parametrize(("family", "tie", "overrides"), CASES)
def test_every_placement_gives_the_tokens_of_transformers(
    tmp_path: Path, family: str, tie: bool, overrides: dict[str, object]
) -> None:
    """Resident, half-streamed and all-streamed float32 runs equal transformers token by token."""
    folder = write_tiny(tmp_path / "model", family, tie=tie, eos_token_id=None, **overrides)
    expected = reference_tokens(folder, PROMPT, 16)
    checkpoint = Checkpoint.open(folder)
    for streamed in streamed_sets(checkpoint):
        for streaming in (True, False):
            assert greedy_tokens(checkpoint, streamed, PROMPT, 16, streaming) == expected


def test_the_demo_model_gives_the_tokens_of_transformers() -> None:
    """The bundled bf16 weights, converted to float32 on the way in, give transformers' tokens."""
    expected = reference_tokens(model_path(), PROMPT, 40)
    checkpoint = Checkpoint.open(model_path())
    for streamed in streamed_sets(checkpoint):
        got = greedy_tokens(checkpoint, streamed, PROMPT, 40, True)
        assert got[: len(expected)] == expected


def test_bf16_logits_are_within_tolerance(tmp_path: Path) -> None:
    """In bf16 the logits differ from transformers' bf16 by less than 2 % of their spread."""
    from transformers import AutoModelForCausalLM

    folder = write_tiny(tmp_path / "model", "qwen3", dtype="bfloat16")
    checkpoint = Checkpoint.open(folder)
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    executor = Executor(checkpoint, placement_of(blocks, set(blocks[1:4]), "bf16"), 64)
    logits = executor.forward(torch.tensor([PROMPT]), 0).logits[0]
    executor.close()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    expected = model(torch.tensor([PROMPT])).logits[0, -1].float()
    assert (logits - expected).abs().max() < 0.02 * (expected.max() - expected.min())


def test_a_long_prompt_in_chunks_equals_one_pass(tmp_path: Path) -> None:
    """Prefill in chunks of 5 gives the logits of prefill in one piece."""
    checkpoint = Checkpoint.open(write_tiny(tmp_path / "model"))
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    tokens = torch.arange(37)[None] * 7 % 512
    whole = Executor(checkpoint, placement_of(blocks, set()), 64).forward(tokens, 0).logits
    executor = Executor(checkpoint, placement_of(blocks, set(blocks)), 64)
    executor.chunk, executor.pass_tokens = 5, 20
    parts = executor.forward(tokens, 0).logits
    executor.close()
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-4)


def test_blocks_move_between_tokens_without_changing_them(tmp_path: Path) -> None:
    """Moving blocks from RAM to disk and back in the middle keeps the KV cache and the tokens."""
    folder = write_tiny(tmp_path / "model", tie=True, eos_token_id=None)
    expected = reference_tokens(folder, PROMPT, 9)
    checkpoint = Checkpoint.open(folder)
    resident, half, every = (
        placement_of(tuple(b.name for b in checkpoint.profile.blocks), s) for s in streamed_sets(checkpoint)
    )
    executor = Executor(checkpoint, resident, 64)
    tokens, position, step = [], 0, PROMPT
    for placement in (resident, half, every, half, resident, every, resident, half, every):
        executor.apply(placement)
        step_logits = executor.forward(torch.tensor([step]), position).logits
        position += len(step)
        step = [int(step_logits.argmax())]
        tokens += step
    assert tokens == expected
    executor.close()


def test_a_weight_file_that_vanishes_while_streaming_is_named(tmp_path: Path) -> None:
    """A truncated file gives one ModelError with the path, not a hang."""
    from llmdist.errors import ModelError

    folder = write_tiny(tmp_path / "model")
    checkpoint = Checkpoint.open(folder)
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    executor = Executor(checkpoint, placement_of(blocks, set(blocks)), 64)
    executor.forward(torch.tensor([PROMPT]), 0)
    file = folder / "model.safetensors"
    with open(file, "r+b") as handle:
        handle.truncate(4000)
    with pytest.raises(ModelError, match="cut short or replaced"):
        for position in range(7, 12):
            executor.forward(torch.tensor([[3]]), position)
    executor.close()
