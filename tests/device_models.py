"""Tiny models of sizes that fill the kernels' chunks, placed on a device, and their decoding: for any runtime."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny import write_tiny

from llmdist.executor import Executor
from llmdist.model.checkpoint import Checkpoint
from llmdist.planner.placement import Assignment, Placement

PROMPT = [5, 77, 300, 12, 9, 41, 8]
WIDE = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 64, "num_layers": 2, "eos_token_id": None}  # fmt: skip
TOLERANCE = 2**-5  # of the largest logit: roundings that fall differently


def model(folder: Path, family: str = "llama", **more: object) -> Checkpoint:
    """Return a tiny model of sizes that fill the kernels' chunks."""
    return Checkpoint.open(write_tiny(folder / "model", family, "bfloat16", **{**WIDE, **more}))


def placed(checkpoint: Checkpoint, precision: str, homes: str = "", device: str = "cuda:0") -> Placement:
    """Return a placement on `device`; the embedding is looked up on the CPU, layers' homes are `homes` in turn."""
    names = tuple(block.name for block in checkpoint.profile.blocks)
    ring, plain = homes.split() or [device], "fp16" if precision == "fp16" else "bf16"
    choices = [
        Assignment("cpu", "cpu", plain) if name == "embed" else Assignment(device, ring[i % len(ring)], precision)
        for i, name in enumerate(names)
    ]
    return Placement(names, tuple(choices))


def decode(executor: Executor, tokens: list[int], batch: int = 1) -> list[torch.Tensor]:
    """Return the logits of the prompt and of each given token after it."""
    found = [executor.run([PROMPT] * batch, [0] * batch).logits.cpu()]
    for i, token in enumerate(tokens):
        found.append(executor.run([[token]] * batch, [len(PROMPT) + i] * batch).logits.cpu())
    return found
