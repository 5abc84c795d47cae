"""Other planners, run under the colony's evaluator and clock: what it is measured against.

`RIVALS` maps a name to (function of a `Record` and a seed, whether the seed matters).
"""

from __future__ import annotations

from collections.abc import Callable

from ..baselines import dynamic_programming, greedy
from .annealing import annealing
from .contiguous import contiguous
from .flexgen import flexgen
from .genetic import genetic
from .llama_cpp import llama_cpp
from .milp import milp
from .nsga2 import nsga2
from .random_search import random_search
from .record import Record, random_fitting

__all__ = ["RIVALS", "Record", "random_fitting"]


def _greedy(record: Record, seed: int = 0) -> None:
    """accelerate's rule: in order, each block to the fastest memory that still has room."""
    del seed
    record.consider(greedy(record.tables)[None])


def _priced(record: Record, seed: int = 0) -> None:
    """Dynamic programming along the chain with a price per byte of memory, raised until the plan fits."""
    del seed
    record.consider(dynamic_programming(record.tables)[None])


RIVALS: dict[str, tuple[Callable[[Record, int], None], bool]] = {
    "greedy": (_greedy, False),
    "llama.cpp": (llama_cpp, False),
    "contiguous": (contiguous, False),
    "priced": (_priced, False),
    "flexgen": (flexgen, False),
    "milp": (milp, False),
    "random": (random_search, True),
    "annealing": (annealing, True),
    "genetic": (genetic, True),
    "nsga2": (nsga2, True),
}
