"""Checkpoints of any size with random weights, written shard by shard so that no test holds one in memory."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny import write_tokenizer

__all__ = ["write_checkpoint"]


def write_checkpoint(
    folder: Path,
    *,
    hidden: int = 2048,
    intermediate: int = 5632,
    layers: int = 22,
    heads: int = 32,
    kv_heads: int = 4,
    vocab: int = 4096,
    context: int = 512,
) -> int:
    """Write a Llama in bf16, one shard per layer, and return the bytes of its weights."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1 << 24, generator=generator).mul_(0.02).bfloat16()
    start = 0

    def matrix(rows: int, columns: int) -> torch.Tensor:
        nonlocal start
        start = (start + 7919) % 4096
        repeats = -(-(rows * columns + start) // noise.numel())
        return noise.repeat(repeats)[start : start + rows * columns].view(rows, columns).clone()

    folder.mkdir(parents=True, exist_ok=True)
    where: dict[str, str] = {}
    total = 0

    def shard(name: str, tensors: dict[str, torch.Tensor]) -> None:
        nonlocal total
        save_file(tensors, folder / name)
        where.update(dict.fromkeys(tensors, name))
        total += sum(t.nbytes for t in tensors.values())

    head_dim = hidden // heads
    for i in range(layers):
        prefix = f"model.layers.{i}."
        shapes = {
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (kv_heads * head_dim, hidden),
            "self_attn.v_proj": (kv_heads * head_dim, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (intermediate, hidden),
            "mlp.up_proj": (intermediate, hidden),
            "mlp.down_proj": (hidden, intermediate),
        }
        tensors = {f"{prefix}{name}.weight": matrix(*shape) for name, shape in shapes.items()}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{norm}.weight"] = torch.ones(hidden, dtype=torch.bfloat16)
        shard(f"model-layer-{i:03d}.safetensors", tensors)
    ends = {
        "model.embed_tokens.weight": matrix(vocab, hidden),
        "lm_head.weight": matrix(vocab, hidden),
        "model.norm.weight": torch.ones(hidden, dtype=torch.bfloat16),
    }
    shard("model-ends.safetensors", ends)
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "max_position_embeddings": context,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    return total
