"""The trail: MAX-MIN pheromone in the hyper-cube framework.

Values stay within `low .. 1 - low` (Stuetzle and Hoos 2000). The convergence factor says how decided the trail
is and with it which plans deposit: the iteration's best, then the best of all (Blum and Dorigo 2004).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .tables import Floats

__all__ = ["Trail"]


class Trail:
    """Pheromone over rows of alternatives; `valid` says which exist."""

    def __init__(self, valid: NDArray[np.bool_], evaporation: float, low: float) -> None:
        self.valid, self.evaporation, self.low = valid, evaporation, low
        self.widths = valid.sum(1)
        self.values: Floats = np.where(valid, 0.5, 0.0)

    def deposit(self, weighted: list[tuple[float, NDArray[np.int64]]]) -> None:
        """Move the trail towards the weighted mean of some choices (weights sum to 1)."""
        target = np.zeros(self.values.shape)
        row = np.arange(len(target))
        for weight, choice in weighted:
            target[row, choice] += weight
        self.values += self.evaporation * (target - self.values)
        self.values = np.where(self.valid, np.clip(self.values, self.low, 1 - self.low), 0.0)

    @property
    def convergence(self) -> float:
        """How decided the trail is: 0 open, 1 all values at a limit."""
        open_rows = self.widths > 1
        if not open_rows.any():
            return 1.0
        values = self.values[self.valid & open_rows[:, None]]
        nearest = np.maximum(values - self.low, 1 - self.low - values)
        return float(2.0 * (nearest.mean() / (1 - 2 * self.low) - 0.5))

    @property
    def shares(self) -> Floats:
        """The trail scaled to 0..1 per row."""
        scaled: Floats = self.values / self.values.max(1, keepdims=True)
        return scaled

    @property
    def entropy(self) -> float:
        """Mean entropy of the rows' choices, 0 (decided) to 1 (open)."""
        open_rows = self.widths > 1
        if not open_rows.any():
            return 0.0
        share = self.values / self.values.sum(1, keepdims=True)
        nats = -(share * np.log(np.where(share > 0, share, 1.0))).sum(1)
        return float((nats[open_rows] / np.log(self.widths[open_rows])).mean())
