"""Several prompts in one pass: streamed weights are read once for all of them.

Each sequence keeps its own positions, source of chance and end. One that has ended goes along with its last token,
which changes nothing, until all have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ..stage.chain import Chain
from ..stage.messages import Stepped
from .generate import choose, generator_of
from .sampling import Sampling

__all__ = ["BatchStep", "BatchStream"]


@dataclass(frozen=True, slots=True)
class BatchStep:
    """One token of each sequence that still runs; None and an empty text for those that have ended.

    Times are seconds, `time_seconds` since the generation began.
    """

    token_ids: tuple[int | None, ...]
    texts: tuple[str, ...]
    index: int
    time_seconds: float
    step_seconds: float
    bytes_moved: int
    memory_bytes: Mapping[str, int]


class BatchStream:
    """Yields (token of each sequence or None, pass, seconds) for several prompts; `end` takes a sequence out."""

    def __init__(self, chain: Chain, prompts: tuple[tuple[int, ...], ...], sampling: Sampling) -> None:
        self.chain, self.sampling = chain, sampling
        self.tokens = [list(prompt) for prompt in prompts]
        self._prompt_tokens = tuple(map(len, prompts))
        self._generators = [generator_of(sampling, i) for i in range(len(prompts))]
        self.ended: set[int] = set()

    def end(self, sequence: int) -> None:
        """Choose no further tokens for `sequence`."""
        self.ended.add(sequence)

    def stream(
        self, max_new_tokens: int, between: Callable[[], bool]
    ) -> Iterator[tuple[tuple[int | None, ...], Stepped, float]]:
        """Yield until `max_new_tokens` per sequence, or all have ended; `between` ends it by returning False."""
        before = time.monotonic()
        for index in range(max_new_tokens):
            if len(self.ended) == len(self.tokens) or not between():
                return
            stepped = self._pass(index == 0)
            found = tuple(
                None if i in self.ended else choose(stepped, i, self.sampling, self._generators[i])
                for i in range(len(self.tokens))
            )
            for tokens, token in zip(self.tokens, found, strict=True):
                if token is not None:
                    tokens.append(token)
            now = time.monotonic()
            yield found, stepped, now - before
            before = time.monotonic()

    def _pass(self, first: bool) -> Stepped:
        if first:
            prompts = tuple(map(tuple, self.tokens))
            return self.chain.forward(prompts, self.sampling.greedy, ((),) * len(prompts))
        last = tuple((tokens[-1],) for tokens in self.tokens)
        histories = tuple(tuple(tokens[:-1]) for tokens in self.tokens)
        return self.chain.forward(last, self.sampling.greedy, histories, self._prompt_tokens)
