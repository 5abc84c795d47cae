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

    def update_config(self, config: Any) -> None:
        """Take the new values of ``%config``: all of them, or none and one sentence."""
        values = config.get("LLMDist", {})
        found = _wrong(values, self.trait_names(config=True))
        if found:
            self._forget(config, list(values))
            raise TraitError(f"%config LLMDist: {'; '.join(found.values())}. Nothing was changed.")
        super().update_config(config)

    def _forget(self, config: Any, names: list[str]) -> None:
        """Take values out of `config` and of the shell's, which has them already or takes them next."""
        before = dict(self.config.get("LLMDist", {}))
        _drop(config, names)
        if self.parent is not None:
            _drop(self.parent.config, names)
            self.parent.config.LLMDist.update({name: before[name] for name in names if name in before})

    def _load_config(self, cfg: Any, section_names: Any = None, traits: Any = None) -> None:
        """Take what a start-up file sets; what cannot be a default is left out, with one sentence."""
        found = _wrong(cfg.get("LLMDist", {}), self.trait_names(config=True))
        if found:
            _drop(cfg, list(found))
            print(f"The configuration of LLMDist: {'; '.join(found.values())}. Its own default is taken instead.")
        super()._load_config(cfg, section_names, traits)


def _drop(config: Any, names: list[str]) -> None:
    for name in names:
        config.get("LLMDist", {}).pop(name, None)


def _wrong(values: Mapping[str, Any], known: list[str]) -> dict[str, str]:
    """Return a phrase for each value that cannot be a default, under its name."""
    found = {}
    for name, value in values.items():
        if name not in known:
            near = get_close_matches(name, known, 1)
            found[name] = f"there is no {name}" + (f", but {near[0]}" if near else f"; known are {', '.join(known)}")
        elif name in _COLONY:
            found.update((name, phrase) for phrase in wrong_parameters({name: value}))
        for names, kinds, least, words in _RULES:
            if name in names and not _fits(value, kinds, least):
                found[name] = f"{name} is {value!r} where {words} is needed"
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
