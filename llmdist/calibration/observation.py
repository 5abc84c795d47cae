"""What one finished generation says of the prices that its plan was made with.

Measured seconds stand beside those of the uncalibrated profile, never beside corrected ones, so that a fit to
observations does not chase its own corrections.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..model.blocks import ModelProfile
from ..planner.placement import Placement

__all__ = ["Observation", "Term", "model_key", "packed_placement", "placement_key"]

_LETTERS = string.ascii_letters


@dataclass(frozen=True, slots=True)
class Term:
    """One price in one pass, in seconds.

    `name`: ``compute cpu bf16``, ``copy disk>cpu``, ``handover cpu`` or ``pass``. `measured_seconds` is None where the
    run did not show it. `used`: the factor at which the run took this price, where it found another one as the rest.
    """

    name: str
    predicted_seconds: float
    measured_seconds: float | None
    used: float = 1.0


@dataclass(frozen=True, slots=True)
class Observation:
    """One generation. Seconds are per token, those predicted for the context that the run had.

    `date`: ISO, to the minute, UTC. `model`: name and a digest of the blocks' sizes. `options` and `chain`: the
    placement, a letter per block that counts through the options. `told_tokens_per_second` and `told_spread`: the
    prediction of the plan in force. `predicted_seconds`: by the uncalibrated profile; `calibrated_seconds`: by the
    calibration of that time; `measured_seconds`: the median of the tokens. `kv`: ``int8``, or empty where the KV
    cache had the type of the activations.
    """

    date: str
    model: str
    options: tuple[str, ...]
    chain: str
    slots: int
    context: int
    tokens: int
    told_tokens_per_second: float
    told_spread: float
    predicted_seconds: float
    calibrated_seconds: float
    measured_seconds: float
    terms: tuple[Term, ...]
    kv: str = ""

    def __post_init__(self) -> None:
        seconds = (self.predicted_seconds, self.calibrated_seconds, self.measured_seconds, self.told_tokens_per_second)
        if not all(0 < value < float("inf") for value in seconds):
            raise ValueError(f"an observation needs seconds above 0, these are {seconds}")
        if not all(_LETTERS.index(letter) < len(self.options) for letter in self.chain):
            raise ValueError("the placement names an option that is not there")

    @property
    def tokens_per_second(self) -> float:
        """Return the measured speed."""
        return 1 / self.measured_seconds

    @property
    def streams(self) -> bool:
        """Whether blocks were copied in each pass."""
        return any(term.name.startswith("copy ") for term in self.terms)

    @property
    def placement(self) -> str:
        """Return a digest of where every block is."""
        return placement_key(self.options, self.chain)

    def assignments(self, names: tuple[str, ...]) -> Placement:
        """Return the placement of the blocks called `names`."""
        words = (self.options[_LETTERS.index(letter)] for letter in self.chain)
        return Placement.from_json(dict(zip(names, words, strict=True)))

    def to_json(self) -> dict[str, Any]:
        """Return the observation as plain JSON values, a term in a row."""
        rows = [[term.name, term.predicted_seconds, term.measured_seconds, term.used] for term in self.terms]
        return {**asdict(self), "options": list(self.options), "terms": rows}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Observation:
        """Return the observation that `to_json` wrote; ValueError or TypeError when it is none."""
        terms = tuple(
            Term(name, float(said), None if seen is None else float(seen), float(used))
            for name, said, seen, used in data["terms"]
        )
        return cls(**{**data, "options": tuple(data["options"]), "terms": terms})


def model_key(profile: ModelProfile) -> str:
    """Return the model's name and a digest of its blocks, which tells two models of one name apart."""
    sizes = repr([(b.name, b.parameters, b.flops_per_token, b.kv_elements_per_token) for b in profile.blocks])
    return f"{profile.name} {hashlib.sha256(sizes.encode()).hexdigest()[:8]}"


def packed_placement(placement: Placement) -> tuple[tuple[str, ...], str] | None:
    """Return (options, a letter per block); None when there are more options than letters."""
    words = [choice.to_text() for choice in placement.assignments]
    options = tuple(dict.fromkeys(words))
    if len(options) > len(_LETTERS):
        return None
    return options, "".join(_LETTERS[options.index(word)] for word in words)


def placement_key(options: tuple[str, ...], chain: str) -> str:
    """Return a short digest of a packed placement."""
    return hashlib.sha256(f"{options} {chain}".encode()).hexdigest()[:12]
