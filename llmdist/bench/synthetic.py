"""A model of a given shape with random weights, written as a checkpoint: speed does not depend on what it says.

Shared by the benchmarks that need a model of a known size without a download. Weights are the same few million
random numbers shifted from tensor to tensor, so writing is fast and nothing is held whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..demo import model_path

__all__ = ["SHAPES", "SyntheticShape", "write_synthetic"]


@dataclass(frozen=True, slots=True)
class SyntheticShape:
    """The sizes of a Llama."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int = 2048


#: ``1b`` is TinyLlama-1.1B; ``small`` has the same layers, five of them, and few words; ``8b`` is Llama 3 8B, ``13b``
#: Llama 2 13B.
SHAPES = {
    "8b": SyntheticShape(4096, 14336, 32, 32, 8, 128256, 8192),
    "13b": SyntheticShape(5120, 13824, 40, 40, 40, 32000, 4096),
    "1b": SyntheticShape(2048, 5632, 22, 32, 4, 32000),
    "small": SyntheticShape(2048, 5632, 5, 32, 4, 4096),
}


def write_synthetic(folder: Path, shape: SyntheticShape, tokenizer: bool = False) -> None:
    """Write a bf16 checkpoint of `shape` into `folder`, one file per layer; what is there is not written again.

    With `tokenizer` the bundled model's lies beside it, so that a session opens the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes((model_path() / name).read_bytes())
    if (folder / "config.json").is_file():
        return
    noise = torch.randn(1 << 24, generator=torch.Generator().manual_seed(0)).mul_(0.02).bfloat16()
    where: dict[str, str] = {}
    head_dim = shape.hidden // shape.heads

    def matrix(rows: int, columns: int) -> torch.Tensor:
        start = len(where) * 7919 % 4096
        repeats = -(-(rows * columns + start) // noise.numel())
        return noise.repeat(repeats)[start : start + rows * columns].view(rows, columns).clone()

    def shard(name: str, shapes: dict[str, tuple[int, ...]]) -> None:
        tensors = {}
        for key, sizes in shapes.items():
            tensors[key] = matrix(*sizes) if len(sizes) == 2 else torch.ones(sizes, dtype=torch.bfloat16)
            where[key] = name
        save_file(tensors, folder / name)

    inner, keys = shape.intermediate, shape.kv_heads * head_dim
    for i in range(shape.layers):
        prefix = f"model.layers.{i}."
        shard(
            f"layer-{i:03d}.safetensors",
            {
                f"{prefix}self_attn.q_proj.weight": (shape.hidden, shape.hidden),
                f"{prefix}self_attn.k_proj.weight": (keys, shape.hidden),
                f"{prefix}self_attn.v_proj.weight": (keys, shape.hidden),
                f"{prefix}self_attn.o_proj.weight": (shape.hidden, shape.hidden),
                f"{prefix}mlp.gate_proj.weight": (inner, shape.hidden),
                f"{prefix}mlp.up_proj.weight": (inner, shape.hidden),
                f"{prefix}mlp.down_proj.weight": (shape.hidden, inner),
                f"{prefix}input_layernorm.weight": (shape.hidden,),
                f"{prefix}post_attention_layernorm.weight": (shape.hidden,),
            },
        )
    table = (shape.vocabulary, shape.hidden)
    ends = {"model.embed_tokens.weight": table, "lm_head.weight": table, "model.norm.weight": (shape.hidden,)}
    shard("ends.safetensors", ends)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": shape.hidden,
        "intermediate_size": inner, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads, "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.context, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
