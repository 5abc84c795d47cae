"""One running generation: from passes to text, statistics and events, for one sequence or several.

It owns the texts so far, so that whatever ends the run leaves them whole. It knows no plan and no engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ..events import Observer, TokenProduced
from ..stage.messages import Stepped
from .batch import BatchStep, BatchStream
from .generate import GenerationStats, GenerationStep, Stream
from .text import TextStream

__all__ = ["Run"]


@dataclass(slots=True)
class Run:
    """The state of one generation.

    `decode` turns ids into text, `ends` are the ids that end a text, `stop` the strings. `between` runs before each
    pass with the last one's answer, and ends the run by returning False. `restarts` tells how many engines died.
    """

    decode: Callable[[list[int]], str]
    ends: Sequence[int]
    stop: tuple[str, ...]
    between: Callable[[], bool]
    restarts: Callable[[], int]
    observe: Observer
    stats: GenerationStats
    texts: list[str] = field(default_factory=lambda: [""])
    last: Stepped | None = None

    def steps(self, stream: Stream, max_new_tokens: int) -> Iterator[GenerationStep]:
        """Yield one step per token of one sequence."""
        text, started = TextStream(self.decode, self.stop), time.monotonic()
        for index, (token, stepped, seconds) in enumerate(stream.stream(max_new_tokens, self.between)):
            piece, reason = self._push(text, token, index + 1 == max_new_tokens)
            self.texts[0] += piece
            self._count(1, index, stepped, seconds)
            now = time.monotonic() - started
            self.stats.finish_reason = reason or self.stats.finish_reason
            self.observe(_token_event(index, token, piece, now, seconds, stepped, started))
            yield GenerationStep(token, piece, index, now, seconds, stepped.bytes_moved, stepped.memory_bytes)
            if reason:
                return
        self.texts[0] += text.finish()

    def batch_steps(self, stream: BatchStream, max_new_tokens: int) -> Iterator[BatchStep]:
        """Yield one step per pass over all sequences; an event tells of the first that still runs."""
        texts = [TextStream(self.decode, self.stop) for _ in stream.tokens]
        self.texts[:] = [""] * len(texts)
        started, reasons = time.monotonic(), set()
        for index, (tokens, stepped, seconds) in enumerate(stream.stream(max_new_tokens, self.between)):
            pieces = [""] * len(texts)
            for i, token in enumerate(tokens):
                if token is None:
                    continue
                pieces[i], reason = self._push(texts[i], token, index + 1 == max_new_tokens)
                self.texts[i] += pieces[i]
                if reason:
                    reasons.add(reason)
                    stream.end(i)
            running = [i for i, token in enumerate(tokens) if token is not None]
            self._count(len(running), index, stepped, seconds)
            now, first = time.monotonic() - started, running[0]
            shown = tokens[first]
            assert shown is not None
            self.observe(_token_event(index, shown, pieces[first], now, seconds, stepped, started))
            yield BatchStep(
                tokens, tuple(pieces), index, now, seconds, stepped.bytes_moved, stepped.memory_bytes
            )
            if len(stream.ended) == len(texts):
                self.stats.finish_reason = reasons.pop() if len(reasons) == 1 else "mixed"
                return
        for i, text in enumerate(texts):
            self.texts[i] += text.finish() if i not in stream.ended else ""

    def _push(self, text: TextStream, token: int, longest: bool) -> tuple[str, str]:
        """Return what `token` adds to the text, and why the text ends with it, or an empty reason."""
        ended = token in self.ends
        piece = "" if ended else text.push(token)
        reason = "end_of_text" if ended else "stop" if text.stopped else "length" if longest else ""
        return piece + (text.finish() if reason else ""), reason

    def _count(self, tokens: int, index: int, stepped: Stepped, seconds: float) -> None:
        stats, self.last = self.stats, stepped
        stats.tokens += tokens
        stats.passes += bool(stepped.computes)
        stats.bytes_moved += stepped.bytes_moved
        stats.peak_bytes = dict(stepped.peak_bytes)
        stats.restarts = self.restarts()
        if index == 0:
            stats.ttft_seconds = seconds
        else:
            stats.decode_seconds += seconds


def _token_event(
    index: int, token: int, piece: str, now: float, seconds: float, stepped: Stepped, started: float
) -> TokenProduced:
    """Return the event of one token, its copies and computes timed from the generation's start."""
    return TokenProduced(
        index, token, piece, now, seconds, stepped.bytes_moved, stepped.memory_bytes,
        tuple(record.shifted(started) for record in stepped.copies),
        tuple(record.shifted(started) for record in stepped.computes),
    )  # fmt: skip
