"""Every family gives the tokens of transformers, wherever its blocks live, past its windows and caps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from running import greedy_tokens, placement_of, reference_tokens
from tiny import write_tiny
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

from llmdist.executor import Executor
from llmdist.model.blocks import ModelProfile
from llmdist.model.checkpoint import Checkpoint
from llmdist.model.config import FAMILIES

PROMPT = [5, 77, 300, 12, 9, 41, 8, 100, 3]
WINDOW = 5
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.8,
    "short_factor": [1.0 + 0.1 * i for i in range(8)], "long_factor": [2.0 + i for i in range(8)],
}  # fmt: skip
GEMMA3_ROPES = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e5, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e3},
}
SLIDING = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("gemma", {"num_key_value_heads": 1}),
    ("gemma2", {"sliding_window": WINDOW, "query_pre_attn_scalar": 30, "attn_logit_softcapping": 2.0,
                "final_logit_softcapping": 3.0}),
    ("gemma3_text", {"sliding_window": WINDOW, "query_pre_attn_scalar": 30, "sliding_window_pattern": 2,
                     "rope_parameters": GEMMA3_ROPES}),
    ("phi3", {}),
    ("phi3", {"sliding_window": WINDOW, "original_max_position_embeddings": 64, "rope_parameters": LONGROPE}),
    ("olmo2", {}),
    ("smollm3", {"no_rope_layer_interval": 2}),
    ("smollm3", {**SLIDING, "no_rope_layer_interval": 2, "attention_bias": True}),
    ("mistral", {"sliding_window": WINDOW}),
    ("qwen2", SLIDING),
    ("qwen3", SLIDING),
    ("qwen3", {"rope_parameters": YARN}),
    ("qwen2", {"rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 0.4, "beta_fast": 8}}),
    ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}),
]  # fmt: skip


@pytest.mark.parametrize(("family", "overrides"), CASES)
def test_every_family_gives_the_tokens_of_transformers(
    tmp_path: Path, family: str, overrides: dict[str, Any]
) -> None:
    """Resident, half-streamed and all-streamed float32 runs equal transformers token by token."""
    folder = write_tiny(tmp_path / "model", family, eos_token_id=None, **overrides)
    expected = reference_tokens(folder, PROMPT, 14)
    checkpoint = Checkpoint.open(folder)
    blocks = [block.name for block in checkpoint.profile.blocks]
    for streamed in (set(), set(blocks[::2]), set(blocks)):
        for streaming in (True, False):
            assert greedy_tokens(checkpoint, streamed, PROMPT, 14, streaming) == expected


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text", "phi3", "olmo2", "smollm3"])
def test_bf16_logits_of_every_family_are_within_tolerance(tmp_path: Path, family: str) -> None:
    """In bf16 the logits differ from transformers' bf16 by less than 3 % of their spread."""
    folder = write_tiny(tmp_path / "model", family, dtype="bfloat16")
    checkpoint = Checkpoint.open(folder)
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    executor = Executor(checkpoint, placement_of(blocks, set(blocks[1:4]), "bf16"), 64)
    logits = executor.forward(torch.tensor([PROMPT]), 0).logits[0]
    executor.close()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    expected = model(torch.tensor([PROMPT])).logits[0, -1].float()
    assert (logits - expected).abs().max() < 0.03 * (expected.max() - expected.min())


@pytest.mark.parametrize(("family", "overrides"), [CASES[1], CASES[4], CASES[5]])
def test_the_profile_counts_what_transformers_counts(
    tmp_path: Path, family: str, overrides: dict[str, Any]
) -> None:
    """The blocks' weights add up to the model's, with fused tensors and norms on either side."""
    folder = write_tiny(tmp_path / "model", family, **overrides)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert Checkpoint.open(folder).profile.parameters == sum(p.numel() for p in model.parameters())


def test_a_text_longer_than_the_window_needs_chunks_of_any_size(tmp_path: Path) -> None:
    """Prefill in chunks of 3 under a window of 5 gives the logits of prefill in one piece."""
    checkpoint = Checkpoint.open(write_tiny(tmp_path / "model", "mistral", sliding_window=WINDOW))
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    tokens = torch.arange(37)[None] * 7 % 512
    whole = Executor(checkpoint, placement_of(blocks, set()), 64).forward(tokens, 0).logits
    executor = Executor(checkpoint, placement_of(blocks, set()), 64)
    executor.chunk = 3
    parts = executor.forward(tokens, 0).logits
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-4)


def test_only_llama_like_models_are_called_plain(tmp_path: Path) -> None:
    """`is_plain` holds for the four families of plain layers, and for none with windows, caps or other norms."""
    for family in FAMILIES:
        config = Checkpoint.open(write_tiny(tmp_path / family, family)).config
        assert config.is_plain == (family in {"llama", "qwen2", "qwen3", "phi3"}), family


def test_the_text_model_inside_gemma3_with_pictures_is_run(tmp_path: Path) -> None:
    """The vision tower is left out, and the tokens are those of transformers on the whole model."""
    text = {
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 768, "sliding_window": WINDOW,
        "sliding_window_pattern": 2, "query_pre_attn_scalar": 16, "eos_token_id": None, "pad_token_id": None,
        "bos_token_id": 0, "max_position_embeddings": 128,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1,
        "image_size": 8, "patch_size": 4,
    }  # fmt: skip
    torch.manual_seed(0)
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=7)
    config.eos_token_id = None
    model = Gemma3ForConditionalGeneration(config).float()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            tensor.normal_(1.0 if "norm" in name else 0.0, 0.15)
    model.save_pretrained(tmp_path)
    tokens = torch.tensor([PROMPT])
    expected = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=10, do_sample=False)
    checkpoint = Checkpoint.open(tmp_path)
    assert checkpoint.config.family == "gemma3_text"
    streamed = {block.name for block in checkpoint.profile.blocks[::2]}
    assert greedy_tokens(checkpoint, streamed, PROMPT, 10, True) == expected[0, len(PROMPT) :].tolist()


def test_yarn_reaches_its_stretched_context(tmp_path: Path) -> None:
    """A factor of 4 over 64 tokens allows 256, though config.json says 64; LongRoPE ends at its original 64."""

    def opened(family: str, rope: dict[str, Any], **more: Any) -> ModelProfile:
        folder = write_tiny(tmp_path / family, family, num_layers=1, rope_parameters=rope, **more)
        return Checkpoint.open(folder).profile

    assert opened("qwen3", YARN, max_position_embeddings=64).max_context == 256
    assert opened("phi3", LONGROPE, original_max_position_embeddings=64).max_context == 64
