"""The core's sentences as a notebook says them: in one line, with the magics' options in place of keywords."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llmdist
import llmdist_widgets

__all__ = ["counted", "sentence", "warnings_as_sentences"]

_SPOKEN = (
    (re.compile(r"plan again with (context|batch)=(\d+)"), r"run %llm_plan --\1 \2"),
    (re.compile(r"speculate='ngram'"), "--speculate ngram"),
)
_OURS = tuple(str(Path(file).parent) for file in (llmdist.__file__, llmdist_widgets.__file__, __file__) if file)


def sentence(said: object) -> str:
    """Return what the core says, such as an error, in one line and in the words of the magics."""
    words = " ".join(str(said).split())
    for core, magic in _SPOKEN:
        words = core.sub(magic, words)
    return words


def counted(count: int, noun: str) -> str:
    """Return a number and its noun, such as ``1 token`` and ``2 tokens``."""
    return f"{count} {noun}{'s' * (count != 1)}"


@contextmanager
def warnings_as_sentences() -> Iterator[None]:
    """Print what llmdist warns of as plain sentences, each time it applies; others' warnings stay as they are."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Any, category: type[Warning], file: str, *rest: Any) -> None:
            if category is UserWarning and file.startswith(_OURS):
                print(sentence(message))
            else:
                usual(message, category, file, *rest)

        warnings.showwarning = show  # type: ignore[assignment]
        warnings.filterwarnings("always", category=UserWarning, module="llmdist")
        yield
