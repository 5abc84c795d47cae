"""The colony's parameters, checked when they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import PlanError

__all__ = ["ColonyParameters"]


@dataclass(frozen=True, slots=True)
class ColonyParameters:
    """How many ants walk, how fast the trail evaporates, what is searched nearby, and when the colony starts afresh.

    `theta`: reduced cost, as a share of the bound per block, at which visibility falls to 1 / e. `kinds` weigh
    the steps of the local search, `steps` are the probabilities of one, two, three of them. `threshold`: share by
    which the current plan may get worse. `scratch_ants` build from nothing, each with its own mixture of visibility
    and chance: they find what no step from the current plan reaches. `macro_every`: iterations between macro ants
    (0: none). `tree`: whether macro ants branch and bound, or only change known plans. `turns`: whether the chain may
    go through several machines more than once. `polish`: rounds of local search that a promising plan gets before it is
    judged.
    """

    ants: int = 24
    neighbours: int = 320
    evaluated: int = 96
    rounds: int = 2
    evaporation: float = 0.1
    adaptive: bool = True
    convergence: bool = True
    trail_minimum: float = 0.01
    focused_share: float = 0.5
    scratch_ants: int = 16
    resampled_blocks: float = 4.0
    theta: float = 0.05
    liking: float = 0.2
    arrange_every: int = 3
    macro_every: int = 5
    tree: bool = True
    polish: int = 8
    turns: bool = True
    screening: bool = True
    threshold: float = 0.002
    steps: tuple[float, ...] = (0.5, 0.3, 0.2)
    kinds: Mapping[str, float] = field(
        default_factory=lambda: {"move": 0.2, "sibling": 0.25, "near": 0.2, "far": 0.2, "window": 0.15, "border": 0.2}
    )
    restart_after: int = 40

    def __post_init__(self) -> None:
        counts = (self.ants, self.neighbours, self.evaluated, self.restart_after, self.arrange_every)
        shares = (self.evaporation, *self.steps)
        if min(counts) < 1 or not all(0 <= share <= 1 for share in shares) or self.evaporation == 0:
            raise PlanError(
                f"Colony parameters need counts of at least 1 (found {min(counts)}) and shares in 0..1 "
                f"(found {shares}): use the defaults."
            )
        if not 0 < self.trail_minimum < 0.5 or self.theta <= 0 or self.resampled_blocks <= 0:
            raise PlanError("Colony parameters need 0 < trail_minimum < 0.5, theta > 0, resampled_blocks > 0.")
        counted = (self.rounds, self.macro_every, self.scratch_ants, self.polish)
        least = min(*counted, self.threshold, self.liking, self.focused_share)
        if least < 0 or self.focused_share > 1 or abs(sum(self.steps) - 1) > 1e-9 or sum(self.kinds.values()) <= 0:
            raise PlanError("Colony parameters need rounds, macro_every, threshold and liking of at least 0.")
