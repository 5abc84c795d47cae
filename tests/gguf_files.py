"""Small GGUF files, written by the `gguf` package as llama.cpp's converter writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from transformers import AutoConfig, AutoModelForCausalLM

from llmdist.demo import model_path

__all__ = ["write_demo_tokenizer", "write_gguf"]

_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def write_gguf(folder: Path, architecture: str, kind: str, **shape: Any) -> tuple[Path, Path]:
    """Write a random model twice: as GGUF with its matrices of type `kind`, and unpacked for transformers.

    Returns the GGUF file and the folder that transformers reads; both hold the same numbers.
    """
    config = AutoConfig.for_model(
        architecture, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, vocab_size=768, max_position_embeddings=256, **shape,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).float()
    path = folder / "model.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    _write_metadata(writer, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.1)
            numbers = _write_tensor(writer, architecture, config, name, parameter.numpy(), kind)
            parameter.copy_(torch.from_numpy(numbers))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder / "reference")
    return path, folder / "reference"


def write_demo_tokenizer(path: Path) -> Path:
    """Write the demo model's tokenizer, and nothing else, as the metadata of a GGUF file."""
    tokenizer = json.loads((model_path() / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    tokens = special | {number: token for token, number in tokenizer["model"]["vocab"].items()}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([tokens[i] for i in range(len(tokens))])
    writer.add_token_types([3 if i in special else 1 for i in range(len(tokens))])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_metadata(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(64)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)


def _write_tensor(
    writer: gguf.GGUFWriter, architecture: str, config: Any, name: str, numbers: np.ndarray, kind: str
) -> np.ndarray:
    """Add one tensor and return the numbers that it holds there."""
    module, last = name.rsplit(".", 1)
    if ".layers." in name:
        _, _, layer, module = module.split(".", 3)
        stored = f"blk.{layer}.{_NAMES[module]}.{last}"
    else:
        stored = f"{_NAMES[module]}.{last}"
    heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}
    if numbers.ndim == 1:
        writer.add_tensor(stored, numbers)
        return numbers
    raw = gguf.quants.quantize(numbers, Type[kind]) if kind not in ("Q4_K", "Q6_K") else _random_k(numbers, kind)
    numbers = gguf.quants.dequantize(raw, Type[kind])
    if architecture == "llama" and module in heads:
        raw = raw.reshape(heads[module], 2, raw.shape[0] // heads[module] // 2, -1).swapaxes(1, 2).reshape(raw.shape)
    writer.add_tensor(stored, np.ascontiguousarray(raw), raw_dtype=Type[kind])
    return numbers


def _random_k(numbers: np.ndarray, kind: str) -> np.ndarray:
    """Return random bytes of a K type (the package packs none) whose scales give numbers of about 0.1."""
    _, nbytes = gguf.GGML_QUANT_SIZES[Type[kind]]
    shape = (numbers.shape[0], numbers.shape[1] // 256, nbytes)
    raw = np.random.default_rng(numbers.size).integers(0, 256, shape, dtype=np.uint8)
    scale = np.frombuffer(np.float16(2e-4 if kind == "Q4_K" else 4e-5).tobytes(), np.uint8)
    places = (0, 2) if kind == "Q4_K" else (208,)
    for place in places:
        raw[:, :, place : place + 2] = scale
    if kind == "Q4_K":  # minima of half the range, so that the numbers are around zero
        least = np.frombuffer(np.float16(1.5e-3).tobytes(), np.uint8)
        raw[:, :, 2:4] = least
    return raw.reshape(numbers.shape[0], -1)
