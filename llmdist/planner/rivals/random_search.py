"""Random search among placements that mostly fit: what any method must beat."""

from __future__ import annotations

import numpy as np

from .record import Record, random_fitting

__all__ = ["random_search"]


def random_search(record: Record, seed: int = 0) -> None:
    """Draw placements until the time is over."""
    generator = np.random.default_rng(seed)
    while record.left:
        record.consider(random_fitting(record.tables, 128, generator))
