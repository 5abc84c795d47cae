"""Defaults of the magics, for ``%config LLMDist``: what an option is when it is not written."""

from __future__ import annotations

import argparse

from traitlets import Bool, Float, Int
from traitlets.config import Configurable

__all__ = ["LLMDist"]


class LLMDist(Configurable):
    """Defaults of the llmdist magics: ``%config LLMDist`` lists them, ``%config LLMDist.seconds = 5`` sets one."""

    seconds = Float(2.0, help="Search time of %llm_plan, in seconds.").tag(config=True)
    seed = Int(0, help="Seed of %llm_plan.").tag(config=True)
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
