"""The colony's parameters, checked when they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from ..errors import PlanError

__all__ = ["ColonyParameters", "wrong_parameters"]


@dataclass(frozen=True, slots=True)
class ColonyParameters:
    """How many ants walk, how fast the trail evaporates, and what is searched nearby.

    `ants` arrange the plans of one round; `focused_ants` resample about `resampled_blocks` of the current plan.
    `theta`: reduced cost, as a share of the bound per block, at which visibility falls to 1 / e. `neighbours` are
    drawn in each of the `rounds` of local search, `evaluated` of them in full; `kinds` weigh its steps, `steps` are
    the probabilities of one, two, three of them. `macro_every`: iterations between rounds of `macro_ants` (0: none).
    `tree`: whether they branch and bound. `turns`: whether the chain may go through several machines more than once.
    `polish`: rounds of local search that a promising plan gets before it is judged.

    Raises
    ------
    PlanError : naming every parameter that is out of its range.
    """

    ants: int = 24
    neighbours: int = 320
    evaluated: int = 96
    rounds: int = 2
    evaporation: float = 0.1
    convergence: bool = True
    trail_minimum: float = 0.01
    focused_ants: int = 12
    resampled_blocks: float = 4.0
    theta: float = 0.05
    macro_ants: int = 4
    macro_every: int = 5
    tree: bool = True
    polish: int = 8
    turns: bool = True
    screening: bool = True
    steps: tuple[float, ...] = (0.5, 0.3, 0.2)
    kinds: Mapping[str, float] = field(
        default_factory=lambda: {"move": 0.2, "sibling": 0.25, "near": 0.2, "far": 0.2, "window": 0.15, "border": 0.2}
    )

    def __post_init__(self) -> None:
        found = wrong_parameters({name: getattr(self, name) for name in self.__slots__})
        if found:
            raise PlanError("The colony cannot search with these parameters: " + "; ".join(found) + ".")


def wrong_parameters(values: Mapping[str, Any]) -> list[str]:
    """Return one phrase for each of `values` (parameter name -> value) that a colony cannot search with."""
    found = []
    for names, (holds, words) in _RULES.items():
        found += [
            f"{name} is {values[name]!r} where {words} is needed"
            for name in names.split()
            if name in values and not holds(values[name])
        ]
    return found


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _real(value: Any, low: float, high: float = inf) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high and value < inf


def _probabilities(values: Any) -> bool:
    return isinstance(values, tuple) and all(_real(v, 0, 1) for v in values) and abs(sum(values) - 1) <= 1e-9


def _weights(values: Any) -> bool:
    return isinstance(values, Mapping) and all(_real(v, 0) for v in values.values()) and sum(values.values()) > 0


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "ants macro_ants neighbours evaluated": (lambda v: _whole(v, 1), "a whole number from 1"),
    "focused_ants rounds macro_every polish": (lambda v: _whole(v, 0), "a whole number from 0"),
    "evaporation": (lambda v: _real(v, 0, 1) and v > 0, "a share above 0, at most 1"),
    "trail_minimum": (lambda v: _real(v, 0) and 0 < v < 0.5, "a share above 0 and below 0.5"),
    "theta resampled_blocks": (lambda v: _real(v, 0) and v > 0, "a number above 0"),
    "convergence tree turns screening": (lambda v: isinstance(v, bool), "True or False"),
    "steps": (_probabilities, "a tuple of probabilities that sum to 1"),
    "kinds": (_weights, "a weight from 0 for each kind of step, one above 0"),
}
