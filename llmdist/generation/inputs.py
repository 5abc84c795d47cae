"""What a generation is given, read once: token ids and the texts at which it ends."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from ..errors import GenerationError

__all__ = ["stop_texts", "token_ids"]


def token_ids(prompt: Sequence[int]) -> tuple[int, ...]:
    """Return the ids of a prompt that is not text; GenerationError for anything but whole numbers."""
    try:
        return tuple(operator.index(token) for token in prompt)
    except TypeError as error:
        raise GenerationError(f"The prompt {prompt!r:.60} is neither text nor whole token ids ({error}).") from error


def stop_texts(stop: str | Sequence[str]) -> tuple[str, ...]:
    """Return the texts at which a generation ends, of one or of several; GenerationError where one is no text."""
    texts = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, Sequence) else (stop,)
    wrong = [text for text in texts if not isinstance(text, str) or not text]
    if wrong:
        raise GenerationError(f"stop has {wrong[0]!r}: give a text, or a list of texts, none of them empty.")
    return texts
