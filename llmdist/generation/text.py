"""From tokens to text as it streams: whole characters only, and cut at a stop string.

A piece is held back while it ends in half a character or in what may become a stop string.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["TextStream"]


class TextStream:
    """Turns token ids into pieces of text; `stopped` is set when a stop string was met."""

    def __init__(self, decode: Callable[[list[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode, self._stop = decode, tuple(s for s in stop if s)
        self._ids: list[int] = []
        self._window = 0  # ids before it are emitted and only give context to the decoder
        self._emitted = 0
        self._pending = ""
        self.text = ""
        self.stopped = False

    def push(self, token_id: int) -> str:
        """Return the text that `token_id` completes, possibly empty."""
        self._ids.append(token_id)
        context = self._decode(self._ids[self._window : self._emitted])
        full = self._decode(self._ids[self._window :])
        if full.endswith("\ufffd"):
            return ""
        self._pending += full[len(context) :]
        self._window, self._emitted = self._emitted, len(self._ids)
        return self._emit(self._held_from())

    def finish(self) -> str:
        """Return what was held back, at the end of a generation."""
        return "" if self.stopped else self._emit(len(self._pending))

    def _held_from(self) -> int:
        found = [at for at in (self._pending.find(s) for s in self._stop) if at >= 0]
        if found:
            self.stopped = True
            return min(found)
        partial = (
            len(self._pending) - length
            for s in self._stop
            for length in range(min(len(s) - 1, len(self._pending)), 0, -1)
            if self._pending.endswith(s[:length])
        )
        return min(partial, default=len(self._pending))

    def _emit(self, end: int) -> str:
        piece, self._pending = self._pending[:end], self._pending[end:]
        self.text += piece
        return piece
