"""From logits to a token: greedy, temperature, top-k, top-p, with a seed."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from ..errors import GenerationError

__all__ = ["LARGEST_SEED", "Sampling", "sample"]

LARGEST_SEED = 2**63 - 1  # what draws takes 63 bits


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 keep every token."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not _is_number(self.temperature) or not 0 <= self.temperature < float("inf"):
            raise GenerationError(f"temperature is {self.temperature!r}: it must be 0 (greedy) or above, such as 0.7.")
        whole = isinstance(self.seed, int) and not isinstance(self.seed, bool) and 0 <= self.seed <= LARGEST_SEED
        if self.seed is not None and not whole:
            raise GenerationError(f"The seed is {self.seed!r}: give a whole number from 0 to {LARGEST_SEED}, or None.")
        if not isinstance(self.top_k, int) or self.top_k < 0 or not _is_number(self.top_p) or not 0 < self.top_p <= 1:
            raise GenerationError(
                f"top_k is {self.top_k!r} and top_p is {self.top_p!r}: top_k must be 0 (off) or above, "
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
