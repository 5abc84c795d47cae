"""Defaults of the magics, for ``%config LLMDist``: what an option is when it is not written."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from traitlets import Bool, Float, Int, TraitError
from traitlets.config import Configurable

from llmdist.planner import ColonyParameters
from llmdist.planner.params import wrong_parameters

__all__ = ["LLMDist"]

_DEFAULT = ColonyParameters()
_COLONY = ("ants", "macro_ants", "focused_ants", "evaporation", "polish")


class LLMDist(Configurable):
    """Defaults of the llmdist magics: ``%config LLMDist`` lists them, ``%config LLMDist.seconds = 5`` sets one."""

    seconds = Float(2.0, help="Search time of %llm_plan, in seconds.").tag(config=True)
    pareto_seconds = Float(10.0, help="Search time of %llm_plan --pareto, in seconds.").tag(config=True)
    seed = Int(0, help="Seed of %llm_plan.").tag(config=True)
    ants = Int(_DEFAULT.ants, help="Ants that arrange the plans of an iteration along the chain.").tag(config=True)
    macro_ants = Int(_DEFAULT.macro_ants, help="Ants that choose how the devices stage.").tag(config=True)
    focused_ants = Int(_DEFAULT.focused_ants, help="Ants that rebuild a few blocks of the current plan.").tag(
        config=True
    )
    evaporation = Float(
        _DEFAULT.evaporation, help="Share of the trail that goes each iteration; more forgets sooner."
    ).tag(config=True)
    polish = Int(_DEFAULT.polish, help="Rounds of local search for a promising plan.").tag(config=True)
    max_new_tokens = Int(64, help="Most tokens of %llm_generate.").tag(config=True)
    temperature = Float(0.0, help="Temperature of %llm_generate; 0 is greedy.").tag(config=True)
    calibrate = Bool(True, help="Whether measured runs correct the prices of later plans.").tag(config=True)
    views = Bool(True, help="Whether magics show pictures in a notebook; otherwise they print text.").tag(config=True)

    def filled(self, options: argparse.Namespace, *names: str) -> argparse.Namespace:
        """Return `options` with the defaults of those `names` that were not written."""
        for name in names:
            if getattr(options, name) is None:
                setattr(options, name, getattr(self, name))
        return options

    def colony(self) -> ColonyParameters:
        """Return how the colony searches under these defaults."""
        return ColonyParameters(**{name: getattr(self, name) for name in _COLONY})

    def _load_config(self, cfg: Any, section_names: Any = None, traits: Any = None) -> None:
        """Take new values, from ``%config`` or a start-up file: all of them, or none and one sentence."""
        values = dict(cfg.get("LLMDist", {}))
        found = _wrong(values, self.trait_names(config=True))
        if found:
            raise TraitError(f"%config LLMDist: {'; '.join(found)}. Nothing was changed.")
        super()._load_config(cfg, section_names, traits)


def _wrong(values: Mapping[str, Any], known: list[str]) -> list[str]:
    """Return a phrase for each value that cannot be a default."""
    found = []
    for name in values:
        if name not in known:
            near = get_close_matches(name, known, 1)
            found.append(f"there is no {name}" + (f", but {near[0]}" if near else f"; known are {', '.join(known)}"))
    found += wrong_parameters({name: values[name] for name in _COLONY if name in values})
    for names, kinds, least, words in _RULES:
        found += [
            f"{name} is {values[name]!r} where {words} is needed"
            for name in names
            if name in values and not _fits(values[name], kinds, least)
        ]
    return found


def _fits(value: Any, kinds: tuple[type[Any], ...], least: float) -> bool:
    if bool in kinds:
        return isinstance(value, bool)
    return isinstance(value, kinds) and not isinstance(value, bool) and bool(least <= value < float("inf"))


_RULES: tuple[tuple[tuple[str, ...], tuple[type[Any], ...], float, str], ...] = (
    (("seconds", "pareto_seconds"), (int, float), 5e-324, "a number above 0"),
    (("seed",), (int,), 0, "a whole number from 0"),
    (("max_new_tokens",), (int,), 1, "a whole number from 1"),
    (("temperature",), (int, float), 0, "a number from 0"),
    (("calibrate", "views"), (bool,), 0, "True or False"),
)
