"""From logits to a token: greedy, temperature, top-k, top-p, with a seed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import GenerationError

__all__ = ["Sampling", "sample"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 keep every token."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise GenerationError(f"temperature is {self.temperature}: it must be 0 (greedy) or above, such as 0.7.")
        if self.top_k < 0 or not 0 < self.top_p <= 1:
            raise GenerationError(
                f"top_k is {self.top_k} and top_p is {self.top_p}: top_k must be 0 (off) or above, "
                "top_p above 0 and at most 1."
            )

    @property
    def greedy(self) -> bool:
        """Whether the best token is always taken."""
        return self.temperature == 0


def sample(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Return one token id drawn from `logits`, (vocab_size,) float32."""
    if sampling.greedy:
        return int(logits.argmax())
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < len(logits):
        logits[logits < logits.topk(sampling.top_k).values[-1]] = -torch.inf
    probabilities = logits.softmax(-1)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p
        probabilities[order[beyond]] = 0
    return int(torch.multinomial(probabilities, 1, generator=generator))
