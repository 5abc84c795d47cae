"""Speculation: guess several tokens, run them in one pass, keep what the model itself would have said.

The model's own choice at each position decides, so the text is that of plain decoding; a wrong guess only costs
its place in the pass. What it wrote into the KV cache lies behind the kept tokens and is overwritten. In bf16 and
fp16 a pass over several tokens rounds differently from single steps, so where two tokens are nearly equal the text
may differ. Sources: Leviathan et al. 2023 (arXiv 2211.17192); prompt lookup, Saxena 2023.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from ..stage.chain import Chain
from ..stage.messages import Stepped
from .generate import GenerationStats, Stream, choose
from .sampling import Sampling

__all__ = ["Draft", "ModelDraft", "NgramDraft", "SpeculativeStream"]


class Draft(Protocol):
    """Something that guesses how a text goes on."""

    def propose(self, tokens: Sequence[int], count: int) -> tuple[int, ...]:
        """Return up to `count` guessed tokens; none where there is no good guess."""


class NgramDraft:
    """Guesses that the text goes on as it did the last time its last few tokens stood in it."""

    def __init__(self, longest: int = 4, shortest: int = 2) -> None:
        self.longest, self.shortest = longest, shortest

    def propose(self, tokens: Sequence[int], count: int) -> tuple[int, ...]:
        """Return what followed the latest earlier place with the same last tokens, the longest match first."""
        known = tuple(tokens)
        for length in range(min(self.longest, len(known) - 1), self.shortest - 1, -1):
            tail = known[-length:]
            for start in range(len(known) - length - 1, -1, -1):
                if known[start : start + length] == tail:
                    return known[start + length : start + length + count]
        return ()


class ModelDraft:
    """Guesses with a smaller model of the same vocabulary; its KV cache follows the text by position."""

    def __init__(self, chain: Chain, context: int) -> None:
        self.chain, self.context = chain, context
        self._held: tuple[int, ...] = ()  # tokens whose keys and values the draft's engine holds

    def propose(self, tokens: Sequence[int], count: int) -> tuple[int, ...]:
        """Return the draft model's greedy tokens; none where its context is full."""
        known = tuple(tokens)
        count = min(count, self.context - len(known))
        if count < 1:
            return ()
        same = 0
        for old, new in zip(self._held, known[:-1], strict=False):
            if old != new:
                break
            same += 1
        history, feed, guessed = known[:same], known[same:], []
        for _ in range(count):
            stepped = self.chain.forward((feed,), True, (history,))
            assert stepped.token_ids is not None
            history, feed = (*history, *feed), stepped.token_ids
            guessed.append(stepped.token_ids[0])
        self._held = history
        return tuple(guessed)


class SpeculativeStream(Stream):
    """A stream that asks `draft` for up to `draft_tokens` before each pass; `stats` counts guesses and hits."""

    def __init__(
        self, chain: Chain, prompt: tuple[int, ...], sampling: Sampling, draft: Draft, draft_tokens: int,
        stats: GenerationStats,
    ) -> None:  # fmt: skip
        super().__init__(chain, prompt, sampling)
        self.draft, self.draft_tokens, self.stats = draft, draft_tokens, stats

    def stream(
        self, max_new_tokens: int, between: Callable[[], bool]
    ) -> Iterator[tuple[int, Stepped, float]]:
        """Yield token by token as `Stream.stream`; a pass is told of with its first token."""
        before, made = time.monotonic(), 0
        while made < max_new_tokens and between():
            if made == 0:
                token, stepped = self.prefill()
                found = [token]
            else:
                found, stepped = self._verified(max_new_tokens - made)
            seconds = (time.monotonic() - before) / len(found)
            for token in found:
                self.tokens.append(token)
                made += 1
                yield token, stepped, seconds
                stepped = replace(stepped, bytes_moved=0, copies=(), computes=())
            before = time.monotonic()

    def _verified(self, room: int) -> tuple[list[int], Stepped]:
        """Run one pass over the guesses and return the tokens that the model chooses, at least one."""
        guessed = self.draft.propose(self.tokens, min(self.draft_tokens, room - 1)) if room > 1 else ()
        stepped = self._run(guessed)
        self.stats.drafted += len(guessed)
        self.stats.guessed += bool(guessed)
        found: list[int] = []
        for row in range(1 + len(guessed)):
            found.append(choose(stepped, row, self.sampling, self._generator))
            if row == len(guessed):
                break
            if found[-1] != guessed[row]:
                self.stats.rejected += 1
                break
            self.stats.accepted += 1
        return found, stepped
