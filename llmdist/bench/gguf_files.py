"""A checkpoint written as GGUF for llama.cpp, through the `gguf` package: F16, BF16, Q8_0 or Q4_0.

Only what llama.cpp needs to run a Llama: tensors, sizes, and a vocabulary of made-up words. Used by benchmarks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..executor.weights import read_tensor
from ..model.checkpoint import Checkpoint
from .cpu_engines import EngineMissing

__all__ = ["write_gguf"]

_NAMES = {
    "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "input_norm": "attn_norm",
    "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down", "post_norm": "ffn_norm",
}  # fmt: skip
_ENDS = {"embed.weight": "token_embd", "head.lm_head": "output", "head.norm": "output_norm"}


def write_gguf(checkpoint: Checkpoint, file: Path, kind: str) -> None:
    """Write `checkpoint` (a Llama) as `file` with its matrices as `kind`; nothing happens if it is there."""
    if file.is_file():
        return
    try:
        import gguf
    except ImportError as error:
        raise EngineMissing(str(error)) from error
    draft = file.with_suffix(".draft")
    writer = gguf.GGUFWriter(str(draft), "llama")
    _write_facts(writer, checkpoint)
    form = gguf.GGMLQuantizationType[kind]
    for block in checkpoint.profile.blocks:
        for local, entry in checkpoint.block_tensors(block.name).items():
            values = torch.empty(entry.shape, dtype=torch.float32)
            read_tensor(entry, 0, values)
            array: Any = values.numpy()
            if array.ndim == 2:
                writer.add_tensor(_name(block.name, local), gguf.quants.quantize(array, form), raw_dtype=form)
            else:
                writer.add_tensor(_name(block.name, local), array.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    draft.replace(file)


def _name(block: str, local: str) -> str:
    if f"{block}.{local}" in _ENDS:
        return _ENDS[f"{block}.{local}"] + ".weight"
    return f"blk.{block.split('.')[1]}.{_NAMES[local]}.weight"


def _write_facts(writer: Any, checkpoint: Checkpoint) -> None:
    config = checkpoint.config
    writer.add_context_length(config.max_context)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    words = [b"<unk>", b"<s>", b"</s>", *(f"w{i}".encode() for i in range(3, config.vocab_size))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * len(words))
    writer.add_token_types([2, 3, 3, *([1] * (len(words) - 3))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
