"""A mixed-integer program without ants: HiGHS finds whole counts, their streamed blocks are spread out evenly.

It shares the relaxation and the arrangement with the colony, and so shows what the search itself adds.
"""

from __future__ import annotations

import numpy as np

from ..arrange import Spread, arrange, rounded, site_orders
from ..bound import Relaxation
from ..colony import ROUNDS
from .record import Record

__all__ = ["milp"]


def milp(record: Record, seed: int = 0) -> None:
    """Solve the integer program, then arrange its counts at random until the time is over."""
    tables, generator = record.tables, np.random.default_rng(seed)
    found = Relaxation(tables).integer(0.8 * record.seconds, nodes=100_000)
    if found.counts is None:
        return
    counts = rounded(tables, found.counts)
    several = len(site_orders(tables, counts)[0]) > 1
    while record.left:
        rounds = generator.choice(ROUNDS if several else (1,), 32)
        record.consider(arrange(tables, [counts], Spread.drawn(32, generator, rounds), generator))
