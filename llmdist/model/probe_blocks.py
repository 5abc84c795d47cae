"""One tiny attention and one tiny MLP, run through the real layers.

Their time is the fixed price of a block (the weights are too small to matter), and running them once brings
the libraries' lazily made pools into memory before an engine counts its own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .config import ModelConfig
from .layers import Rope, attention, mlp

__all__ = ["tiny_blocks"]


def tiny_blocks(device: str | torch.device = "cpu", dtype: torch.dtype = torch.bfloat16) -> Callable[[int], None]:
    """Return a function that runs one attention and one MLP block on the given number of tokens (at most 32)."""
    config = ModelConfig.from_hf(
        {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128,
         "num_hidden_layers": 1, "vocab_size": 8, "max_position_embeddings": 32}
    )  # fmt: skip
    shapes = {
        "input_norm": (64,), "q": (64, 64), "k": (64, 64), "v": (64, 64), "o": (64, 64),
        "post_norm": (64,), "gate": (128, 64), "up": (128, 64), "down": (64, 128),
    }  # fmt: skip
    weights = {name: torch.zeros(shape, dtype=dtype, device=device) for name, shape in shapes.items()}
    keys, values = (torch.zeros(1, 2, 32, 32, dtype=dtype, device=device) for _ in range(2))
    rope = Rope(config, device)

    @torch.inference_mode()
    def run(tokens: int) -> None:
        x = torch.zeros(1, tokens, 64, dtype=dtype, device=device)
        cos, sin = rope.tables(0, tokens)
        mlp(config, weights, attention(config, weights, x, cos, sin, keys, values, 0))

    return run
