"""One tiny attention and one tiny MLP, run as the executor runs them: compiled calls where there are some, else layers.

Their time is the fixed price of a block (the weights are too small to matter), and running them once brings
the libraries' lazily made pools into memory before an engine counts its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from .config import ModelConfig
from .layers import Rope, attention, mlp

__all__ = ["LONGEST_PROBE", "tiny_blocks"]

#: The most tokens that the probe takes: a prompt, which passes through the layers as they are written.
LONGEST_PROBE = 64


def tiny_blocks(device: str | torch.device = "cpu", dtype: torch.dtype = torch.bfloat16) -> Callable[[int], None]:
    """Return a function that runs one attention and one MLP block on up to `LONGEST_PROBE` tokens."""
    # Not above: the kernels know the config of this package.
    from ..kernels.decode import FUSED_TOKENS, FusedAttention, FusedMlp, fused_block

    config = ModelConfig.from_hf(
        {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128,
         "num_hidden_layers": 1, "vocab_size": 8, "max_position_embeddings": LONGEST_PROBE}
    )  # fmt: skip
    shapes = {
        "input_norm": (64,), "q": (64, 64), "k": (64, 64), "v": (64, 64), "o": (64, 64),
        "post_norm": (64,), "gate": (128, 64), "up": (128, 64), "down": (64, 128),
    }  # fmt: skip
    sizes = [math.prod(shape) for shape in shapes.values()]
    buffer = torch.zeros(sum(sizes), dtype=dtype, device=device)  # one buffer, as a block's weights lie in one
    parts = zip(shapes.items(), buffer.split(sizes), strict=True)
    weights = {name: part.view(shape) for (name, shape), part in parts}
    keys, values = (torch.zeros(1, 2, LONGEST_PROBE, 32, dtype=dtype, device=device) for _ in range(2))
    rope = Rope(config, device)
    mixing = {name: weight for name, weight in weights.items() if name in ("input_norm", "q", "k", "v", "o")}
    gating = {name: weight for name, weight in weights.items() if name not in mixing}
    one, other = (
        fused_block(config, f"layers.0.{kind}", part, keys) for kind, part in (("attention", mixing), ("mlp", gating))
    )

    @torch.inference_mode()
    def run(tokens: int) -> None:
        x = torch.zeros(1, tokens, 64, dtype=dtype, device=device)
        cos, sin = rope.tables(0, tokens)
        if tokens <= FUSED_TOKENS and isinstance(one, FusedAttention) and isinstance(other, FusedMlp):
            wide = x.float()
            one(wide, cos, sin, keys, values, 0)
            other(wide)
            return
        mlp(config, weights, attention(config, weights, x, cos, sin, keys, values, 0))

    return run
