"""The colony's parameters, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import PlanError

__all__ = ["ColonyParameters"]


@dataclass(frozen=True, slots=True)
class ColonyParameters:
    """How many ants walk, how fast the trail evaporates, and when the colony starts afresh."""

    ants: int = 32
    neighbours: int = 384
    evaluated: int = 96
    evaporation: float = 0.1
    trail_minimum: float = 0.01
    focused_share: float = 0.75
    resampled_blocks: float = 4.0
    theta: float = 0.05  # reduced cost, as a share of the bound per block, at which visibility falls to 1 / e
    restart_after: int = 40

    def __post_init__(self) -> None:
        counts = (self.ants, self.neighbours, self.evaluated, self.restart_after)
        shares = (self.evaporation, self.focused_share)
        if min(counts) < 1 or not all(0 < share <= 1 for share in shares):
            raise PlanError(
                f"Colony parameters need counts of at least 1 (found {min(counts)}) and shares in 0..1 "
                f"(found {shares}): use the defaults."
            )
        if not 0 < self.trail_minimum < 0.5 or self.theta <= 0 or self.resampled_blocks <= 0:
            raise PlanError("Colony parameters need 0 < trail_minimum < 0.5, theta > 0, resampled_blocks > 0.")
