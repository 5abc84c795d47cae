"""Decoders that only transformers knows run through its modules, placed and streamed like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from running import greedy_tokens, reference_tokens
from tiny import write_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

import llmdist
from llmdist.errors import ModelError
from llmdist.model.checkpoint import Checkpoint

PROMPT = [5, 77, 300, 12, 9, 41, 8, 100, 3]
IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
SHAPE = {
    "vocab_size": 768, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "max_position_embeddings": 128, **IDS,
}  # fmt: skip
OLDER = {"vocab_size": 768, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 128, **IDS}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": OLDER,
    "gptj": {**OLDER, "rotary_dim": 8, "tie_word_embeddings": False},
    "falcon": {**SHAPE, "alibi": False},
    "bloom": {"vocab_size": 768, "hidden_size": 48, "n_layer": 3, "n_head": 4, **IDS},
    "opt": {**SHAPE, "ffn_dim": 96, "word_embed_proj_dim": 24, "pad_token_id": 1},
    "gpt_neox": SHAPE,
    "stablelm": SHAPE,
    "starcoder2": SHAPE,
    "cohere": SHAPE,
    "granite": {**SHAPE, "embedding_multiplier": 3.0, "logits_scaling": 2.0},
}


def write(folder: Path, model_type: str, **shape: Any) -> Path:
    """Write a random model of transformers into `folder`."""
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **shape)).float()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            tensor.normal_(1.0 if "norm" in name or "ln_" in name else 0.0, 0.15)
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_other_decoders_give_the_tokens_of_transformers(tmp_path: Path, model_type: str) -> None:
    """Resident, half-streamed and all-streamed runs of transformers' own layers give its tokens."""
    folder = write(tmp_path / "model", model_type, **ARCHITECTURES[model_type])
    expected = reference_tokens(folder, PROMPT, 10)
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.config.foreign
    blocks = [block.name for block in checkpoint.profile.blocks]
    assert blocks == ["embed", "layers.0.block", "layers.1.block", "layers.2.block", "head"]
    for streamed, streaming in ((set(), True), (set(blocks[::2]), True), (set(blocks), True), (set(blocks), False)):
        assert greedy_tokens(checkpoint, streamed, PROMPT, 10, streaming) == expected


def test_the_blocks_of_another_decoder_add_up(tmp_path: Path) -> None:
    """Every weight is in one block, and a tied table counts once."""
    for model_type in ("gpt2", "gptj"):
        folder = write(tmp_path / model_type, model_type, **ARCHITECTURES[model_type])
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert Checkpoint.open(folder).profile.parameters == sum(p.numel() for p in model.parameters())


def test_a_session_says_that_the_path_is_slow(tmp_path: Path) -> None:
    """Load, plan under a cap, and generate: the description names transformers' modules."""
    folder = write(tmp_path / "model", "gpt2", **OLDER)
    session = llmdist.load(str(folder), isolate=False)
    session.plan(context=64, precision="fp32", seconds=0.2)
    tokens = [step.token_id for step in session.generate(PROMPT, max_new_tokens=6)]
    assert tokens == reference_tokens(folder, PROMPT, 6)[: len(tokens)]
    assert "transformers" in session.describe() and "slow" in session.describe()
    session.unload()


REFUSED = [
    ({"model_type": "t5", "is_encoder_decoder": True}, "encoder-decoder"),
    ({"model_type": "bert"}, "encoder that fills gaps"),
    ({"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64}, "recurrent state"),
    ({"model_type": "llava", "vision_config": {}}, "pictures or sound"),
    ({"model_type": "nonesuch"}, "no text generation"),
    ({"model_type": "nonesuch", "auto_map": {"AutoModel": "x.py"}}, "own code"),
    ({"model_type": "gpt2", "n_embd": 30, "n_head": 7}, "cannot build it"),
]


@pytest.mark.parametrize(("config", "words"), REFUSED)
def test_what_cannot_run_is_refused_in_one_sentence(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    """Encoder-decoders, encoders, recurrent states, pictures and unknown types are named."""
    folder = write(tmp_path / "model", "gpt2", **OLDER)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=words) as caught:
        Checkpoint.open(folder)
    assert "\n" not in str(caught.value)
