"""Tiny random checkpoints of every supported family, written as transformers writes them.

`write_tiny` is for any test that needs a model on disk; the tokenizer is the demo model's when it is
there (768 tokens), else a byte-level one without merges.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    SmolLM3Config,
)

from llmdist.demo import model_path

CONFIGS = {
    "llama": LlamaConfig, "mistral": MistralConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config,
    "gemma": GemmaConfig, "gemma2": Gemma2Config, "gemma3_text": Gemma3TextConfig, "phi3": Phi3Config,
    "olmo2": Olmo2Config, "smollm3": SmolLM3Config,
    "mixtral": MixtralConfig, "qwen3_moe": Qwen3MoeConfig,
}  # fmt: skip
SHAPE: dict[str, Any] = {
    "hidden_size": 80,
    "intermediate_size": 144,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 20,
    "vocab_size": 768,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": None,
}


def write_tiny(
    folder: Path,
    family: str = "llama",
    dtype: str = "float32",
    num_layers: int = 4,
    tie: bool = False,
    *,
    seed: int = 0,
    max_shard_size: str = "5GB",
    **overrides: Any,
) -> Path:
    """Write a random model of `family` into `folder` and return the folder."""
    shape = {**SHAPE, "num_hidden_layers": num_layers, "tie_word_embeddings": tie, **overrides}
    config = CONFIGS[family](dtype=getattr(torch, dtype), **shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config).float()
        with torch.no_grad():  # larger than the default, so that every tensor changes the logits
            for name, tensor in model.named_parameters():
                tensor.normal_(1.0 if "norm" in name else 0.0, 0.15)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=max_shard_size)
    write_tokenizer(folder)
    return Path(folder)


def write_tokenizer(folder: Path) -> None:
    """Write the demo model's tokenizer, or a byte-level one, into `folder`."""
    if (model_path() / "tokenizer.json").is_file():
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(model_path() / name, folder / name)
        return
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(["<|endoftext|>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endoftext|>",
        "bos_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
