"""What tests of running models share: placements by hand, and the tokens of transformers."""

from __future__ import annotations

from pathlib import Path

import torch

from llmdist.planner.placement import Assignment, Placement

__all__ = ["placement_of", "reference_tokens"]


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
