"""What tests of running models share: placements by hand, and the tokens of transformers."""

from __future__ import annotations

from pathlib import Path

import torch

from llmdist.executor import executor_for
from llmdist.model.checkpoint import Checkpoint
from llmdist.planner.placement import Assignment, Placement

__all__ = ["greedy_tokens", "placement_of", "reference_tokens"]


def reference_tokens(folder: Path, prompt: list[int], count: int) -> list[int]:
    """Return the greedy tokens of transformers on the same files, in float32."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokens = torch.tensor([prompt])
    out = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=count, do_sample=False)
    return out[0, len(prompt) :].tolist()


def placement_of(blocks: tuple[str, ...], streamed: set[str], precision: str = "fp32") -> Placement:
    """Return a CPU placement with the named blocks streamed from disk."""
    homes = ("disk" if name in streamed else "cpu" for name in blocks)
    return Placement(blocks, tuple(Assignment("cpu", home, precision) for home in homes))


def greedy_tokens(
    checkpoint: Checkpoint, streamed: set[str], prompt: list[int], count: int, streaming: bool
) -> list[int]:
    """Return greedy tokens of the executor in float32, with the named blocks streamed from disk."""
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    executor = executor_for(checkpoint)(checkpoint, placement_of(blocks, streamed), 128, streaming=streaming)
    tokens: list[int] = []
    position, step = 0, prompt
    for _ in range(count):
        logits = executor.forward(torch.tensor([step]), position).logits
        position += len(step)
        step = [int(logits.argmax())]
        tokens += step
    executor.close()
    return tokens
