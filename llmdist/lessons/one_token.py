"""Lesson 1: a model gives a probability for every token; temperature bends them, sampling draws from them.

Probabilities come from the real engine through `Session.probabilities`; nothing here knows a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..session import Session
from .verdict import Verdict, number, shown

__all__ = ["Candidate", "Mystery", "entropy_bits", "most_probable", "mystery", "surprise_bits", "tempered"]

Probabilities = NDArray[np.float64]
TEMPERATURES = (0.3, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One possible next token, its text and its probability."""

    token_id: int
    text: str
    probability: float


def most_probable(session: Session, prompt: str, count: int = 8, temperature: float = 1.0) -> tuple[Candidate, ...]:
    """Return the `count` most probable next tokens after `prompt`, most probable first."""
    probabilities = tempered(session.probabilities(prompt)[-1], temperature)
    order = np.argsort(-probabilities, kind="stable")[:count]
    return tuple(Candidate(int(i), session.tokenizer.decode([int(i)]), float(probabilities[i])) for i in order)


def tempered(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Return p^(1/T) scaled to sum 1, for (..., vocab_size) probabilities: what softmax(logits / T) gives."""
    scaled = np.log(np.maximum(probabilities, 1e-300)) / temperature
    raised = np.exp(scaled - scaled.max(-1, keepdims=True))
    result: Probabilities = raised / raised.sum(-1, keepdims=True)
    return result


def entropy_bits(probabilities: Probabilities) -> float:
    """Return the entropy -sum p log2 p in bits: 0 when one token is certain, log2(vocab_size) when all are equal."""
    return float(-(probabilities * np.log2(np.maximum(probabilities, 1e-300))).sum(-1).mean())


def surprise_bits(session: Session, prompt: str, continuation: Sequence[int]) -> float:
    """Return the mean of -log2 p over the tokens of `continuation`, p as the model gives it at temperature 1."""
    probabilities = session.probabilities(prompt, continuation)[:-1]
    chosen = probabilities[np.arange(len(continuation)), list(continuation)]
    return float(-np.log2(np.maximum(chosen, 1e-300)).mean())


@dataclass(frozen=True, slots=True)
class Mystery:
    """Three texts that continue one prompt, each sampled at another temperature; which is which is the question."""

    prompt: str
    texts: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]
    _temperatures: tuple[float, ...]

    def check(self, answer: Any) -> Verdict:
        """Return whether `answer` names the temperatures in the order of `texts`."""
        wanted = sorted(self._temperatures)
        given = [number(one) for one in answer] if isinstance(answer, Sequence) else []
        if None in given or sorted(filter(None, given)) != wanted:
            words = f"{shown(answer)} is no answer: give a list with each of {', '.join(map(str, wanted))} once."
            return Verdict(False, words)
        right = sum(a == b for a, b in zip(given, self._temperatures, strict=True))
        if right == len(given):
            return Verdict(True, "the hotter the sampling, the more surprising the tokens.")
        return Verdict(False, f"{right} of {len(given)} fit; compare the mean surprise of the three texts.")


def mystery(session: Session, prompt: str, seed: int = 0, tokens: int = 32) -> Mystery:
    """Return three sampled continuations in an order that `seed` hides."""
    temperatures = list(TEMPERATURES)
    Random(seed).shuffle(temperatures)
    texts, ids = [], []
    for index, temperature in enumerate(temperatures):
        steps = list(session.generate(prompt, tokens, temperature=temperature, seed=100 * seed + index))
        texts.append("".join(step.text for step in steps))
        ids.append(tuple(step.token_id for step in steps))
    return Mystery(prompt, tuple(texts), tuple(ids), tuple(temperatures))
