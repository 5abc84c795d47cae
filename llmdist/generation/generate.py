"""Prefill, decode step, stream: the whole of a generation, in that order.

Works on token ids and a chain of stages; statistics ride with every step. Batches and speculation are built on it.
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

__all__ = ["GenerationStats", "GenerationStep", "Stream", "choose", "generator_of"]


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
    """Statistics of a generation; tokens are of all its `sequences` together.

    `tokens_per_second` counts the tokens after the first of each sequence. With speculation `drafted` tokens were
    guessed and `accepted` of them were right, in `passes` passes over the model, the prefill included; `guessed` passes
    had guesses and `rejected` ended at a wrong one.
    """

    prompt_tokens: int = 0
    tokens: int = 0
    ttft_seconds: float = 0.0
    decode_seconds: float = 0.0
    bytes_moved: int = 0
    peak_bytes: dict[str, int] = field(default_factory=dict)
    restarts: int = 0
    finish_reason: str = "running"
    sequences: int = 1
    drafted: int = 0
    accepted: int = 0
    passes: int = 0
    guessed: int = 0
    rejected: int = 0

    @property
    def tpot_seconds(self) -> float:
        """Return the mean time per token after the first; 0 when there is none."""
        later = self.tokens - self.sequences
        return self.decode_seconds / later if later > 0 else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Return the decode speed; 0 for fewer than two tokens."""
        return 1 / self.tpot_seconds if self.tpot_seconds > 0 else 0.0

    @property
    def tokens_per_pass(self) -> float:
        """Return the tokens per sequence that a pass after the prefill gave; 0 where there was none."""
        later = self.tokens - self.sequences
        return later / self.sequences / (self.passes - 1) if self.passes > 1 else 0.0

    @property
    def acceptance(self) -> float:
        """Return the share of guessed tokens that were right; 0 without speculation."""
        return self.accepted / self.drafted if self.drafted else 0.0


class Stream:
    """Yields (token id, pass, seconds since the step before) for one prompt."""

    def __init__(self, chain: Chain, prompt: tuple[int, ...], sampling: Sampling) -> None:
        self.chain, self.tokens, self.sampling = chain, list(prompt), sampling
        self._prompt_tokens = len(prompt)
        self._generator = generator_of(sampling, 0)

    def prefill(self) -> tuple[int, Stepped]:
        """Run the prompt and return the first token."""
        stepped = self.chain.forward((tuple(self.tokens),), self.sampling.greedy, ((),))
        return choose(stepped, 0, self.sampling, self._generator), stepped

    def decode_step(self) -> tuple[int, Stepped]:
        """Run the last token and return the next."""
        stepped = self._run(())
        return choose(stepped, 0, self.sampling, self._generator), stepped

    def _run(self, guessed: tuple[int, ...]) -> Stepped:
        """Run the last token and what is guessed behind it; every one of them is answered."""
        *history, last = self.tokens
        return self.chain.forward(
            ((last, *guessed),), self.sampling.greedy, (tuple(history),), (self._prompt_tokens,), 1 + len(guessed)
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


def generator_of(sampling: Sampling, sequence: int) -> torch.Generator:
    """Return the source of chance of one sequence: its own, so that a batch draws what each would draw alone."""
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed + sequence)
    return generator


def choose(stepped: Stepped, row: int, sampling: Sampling, generator: torch.Generator) -> int:
    """Return the token that follows by the answer's `row`."""
    if stepped.token_ids is not None:
        return stepped.token_ids[row]
    assert stepped.logits is not None
    rows = stepped.rows
    logits = torch.from_numpy(np.frombuffer(stepped.logits, dtype=np.float32).reshape(rows, -1)[row].copy())
    return sample(logits, sampling, generator)
