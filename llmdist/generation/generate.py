"""Prefill, decode step, stream: the whole of a generation, in that order.

Works on token ids and a chain of stages; statistics ride with every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from ..stage.chain import Chain
from ..stage.messages import Stepped
from .sampling import Sampling, sample

__all__ = ["GenerationStats", "GenerationStep", "Stream"]


@dataclass(frozen=True, slots=True)
class GenerationStep:
    """One token: `text` is what it adds, times are seconds since the generation began."""

    token_id: int
    text: str
    index: int
    time_seconds: float
    step_seconds: float
    bytes_moved: int
    memory_bytes: Mapping[str, int]


@dataclass(slots=True)
class GenerationStats:
    """Statistics of a generation. `tokens_per_second` counts the tokens after the first."""

    prompt_tokens: int = 0
    tokens: int = 0
    ttft_seconds: float = 0.0
    decode_seconds: float = 0.0
    bytes_moved: int = 0
    peak_bytes: dict[str, int] = field(default_factory=dict)
    restarts: int = 0
    finish_reason: str = "running"

    @property
    def tpot_seconds(self) -> float:
        """Return the mean time per token after the first; 0 when there is none."""
        return self.decode_seconds / (self.tokens - 1) if self.tokens > 1 else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Return the decode speed; 0 for fewer than two tokens."""
        return 1 / self.tpot_seconds if self.tpot_seconds > 0 else 0.0


class Stream:
    """Yields (token id, pass, seconds since the step before) for one prompt."""

    def __init__(self, chain: Chain, prompt: tuple[int, ...], sampling: Sampling) -> None:
        self.chain, self.tokens, self.sampling = chain, list(prompt), sampling
        self._prompt_tokens = len(prompt)
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    def prefill(self) -> tuple[int, Stepped]:
        """Run the prompt and return the first token."""
        return self._choose(self.chain.forward(tuple(self.tokens), 0, self.sampling.greedy, ()))

    def decode_step(self) -> tuple[int, Stepped]:
        """Run the last token and return the next."""
        *history, last = self.tokens
        return self._choose(
            self.chain.forward(
                (last,), len(history), self.sampling.greedy, tuple(history), self._prompt_tokens
            )
        )

    def stream(
        self, max_new_tokens: int, between: Callable[[], bool]
    ) -> Iterator[tuple[int, Stepped, float]]:
        """Yield up to `max_new_tokens`; `between` runs before each token and ends it by returning False."""
        before = time.monotonic()
        for index in range(max_new_tokens):
            if not between():
                return
            token, stepped = self.prefill() if index == 0 else self.decode_step()
            self.tokens.append(token)
            now = time.monotonic()
            yield token, stepped, now - before
            before = time.monotonic()

    def _choose(self, stepped: Stepped) -> tuple[int, Stepped]:
        if stepped.token_id is not None:
            return stepped.token_id, stepped
        assert stepped.logits is not None
        logits = torch.from_numpy(np.frombuffer(stepped.logits, dtype=np.float32).copy())
        return sample(logits, self.sampling, self._generator), stepped
