"""The bound-guided colony: MAX-MIN trails in the hyper-cube framework over (block, option).

Visibility comes from the relaxation's reduced costs (ANTS, Maniezzo 1999); most ants resample only part of
the best plan (Skinderowicz 2022); trails stay within limits (Stuetzle and Hoos 2000; Blum and Dorigo 2004);
the best ant is improved by moves, swaps and shifts. One call of `iterate` is one iteration.
"""

from __future__ import annotations

import numpy as np

from ..cost.vectorised import evaluate_many, floor_many, over_bytes_many
from .params import ColonyParameters
from .tables import Choices, CostTables, Floats

__all__ = ["Colony"]


class Colony:
    """The state of one search: trail, best plan, evaluations so far."""

    def __init__(
        self,
        tables: CostTables,
        seeds: list[Choices],
        reduced: Floats | None,
        bound: float,
        params: ColonyParameters,
        seed: int,
    ) -> None:
        self.tables, self.params = tables, params
        self.generator = np.random.default_rng(seed)
        self.evaluations = 0
        self.widths = tables.valid.sum(1)
        theta = params.theta * max(bound, 1e-12) / tables.shape[0]
        drop = np.zeros(tables.shape) if reduced is None else np.minimum(reduced / theta, 6.0)
        self.visibility = np.where(tables.valid, np.exp(-drop), 0.0)
        self.trail = np.where(tables.valid, 0.5, 0.0)
        self.best = seeds[0]
        self.best_value, self.best_over = float("inf"), float("inf")
        self.mean = float("inf")
        self.idle = 0
        self._consider(np.array(seeds))

    @property
    def feasible(self) -> bool:
        """Whether the best plan fits under every cap."""
        return self.best_over == 0

    def _evaluate(self, choices: Choices) -> tuple[Floats, Floats]:
        self.evaluations += len(choices)
        return evaluate_many(self.tables, choices)

    def _consider(self, choices: Choices) -> tuple[Floats, Floats]:
        """Evaluate and keep the best; a plan over its caps counts only until one fits."""
        values, over = self._evaluate(choices)
        first = int(np.lexsort((values, over))[0])
        if (over[first], values[first]) < (self.best_over, self.best_value * (1 - 1e-12)):
            self.best, self.best_value, self.best_over = choices[first], float(values[first]), float(over[first])
            self.idle = 0
        return values, over

    def _construct(self) -> Choices:
        """Return the ants' choices: most change a few blocks of the best, the others build from scratch."""
        params, (blocks, _) = self.params, self.tables.shape
        weight = self.trail * self.visibility
        cumulative = (weight / weight.sum(1, keepdims=True)).cumsum(1)
        draws = self.generator.random((params.ants, blocks, 1))
        built: Choices = (draws > cumulative[None]).sum(2).clip(max=self.widths - 1).astype(np.int64)
        focused = int(params.ants * params.focused_share)
        keep = self.generator.random((focused, blocks)) > min(1.0, params.resampled_blocks / blocks)
        built[:focused] = np.where(keep, self.best[None], built[:focused])
        return built

    def _neighbours(self, choice: Choices) -> Choices:
        """Return moves of one block, swaps of two blocks, and swaps of neighbours (re-spacing)."""
        count, (blocks, _) = self.params.neighbours, self.tables.shape
        around = np.repeat(choice[None], count, axis=0)
        rows = np.arange(count)
        first = self.generator.integers(blocks, size=count)
        near = np.clip(first + self.generator.choice([-4, -3, -2, -1, 1, 2, 3, 4], size=count), 0, blocks - 1)
        far = self.generator.integers(blocks, size=count)
        kind = self.generator.random(count)
        move, swap = kind < 0.4, kind >= 0.4
        option = np.floor(self.generator.random(count) * self.widths[first]).astype(np.int64)
        around[rows[move], first[move]] = option[move]
        second = np.where(kind < 0.7, near, far)[swap]
        left, right = choice[first[swap]], choice[second]
        around[rows[swap], first[swap]] = np.minimum(right, self.widths[first[swap]] - 1)
        around[rows[swap], second] = np.minimum(left, self.widths[second] - 1)
        extra = kind > 0.85  # a swap and a move together: one more bit of freedom under a tight cap
        third = self.generator.integers(blocks, size=count)
        another = np.floor(self.generator.random(count) * self.widths[third]).astype(np.int64)
        around[rows[extra], third[extra]] = another[extra]
        return np.unique(around, axis=0)

    def _improve(self) -> None:
        """Local search around the best plan, screened by the additive lower bound."""
        around = self._neighbours(self.best)
        over = over_bytes_many(self.tables, around)
        if self.feasible:
            around = around[over == 0]
            if not len(around):
                return
            floor = floor_many(self.tables, around)
            around = around[floor < self.best_value * (1 - 1e-12)]
            floor = floor[floor < self.best_value * (1 - 1e-12)]
            around = around[np.argsort(floor, kind="stable")[: self.params.evaluated]]
        else:
            around = around[np.argsort(over, kind="stable")[: self.params.evaluated]]
        if len(around):
            self._consider(around)

    def _deposit(self, choice: Choices) -> None:
        """Move the trail towards `choice` and keep it within its limits (hyper-cube framework)."""
        target = np.zeros(self.tables.shape)
        target[np.arange(len(choice)), choice] = 1.0
        self.trail += self.params.evaporation * (target - self.trail)
        low = self.params.trail_minimum
        self.trail = np.where(self.tables.valid, np.clip(self.trail, low, 1 - low), 0.0)

    def iterate(self) -> None:
        """Walk all ants once, improve the best, deposit, and restart the trail on stagnation."""
        self.idle += 1
        ants = self._construct()
        values, over = self._consider(ants)
        fitting = values[over == 0]
        self.mean = float(fitting.mean()) if len(fitting) else float(values.mean())
        self._improve()
        leader = ants[int(np.lexsort((values, over))[0])]
        self._deposit(self.best if self.generator.random() < 0.7 else leader)
        if self.idle and self.idle % self.params.restart_after == 0:
            self.trail = np.where(self.tables.valid, 0.5, 0.0)

    def settle(self) -> None:
        """Make streamed blocks resident where that costs no time and fits: copies that win nothing go."""
        copies = self.tables.decode.copy
        order = np.argsort(-copies[np.arange(len(self.best)), self.best], kind="stable")
        for block in order:
            same = self.tables.execute[block] == self.tables.execute[block, self.best[block]]
            cheaper = self.tables.valid[block] & same & (copies[block] < copies[block, self.best[block]])
            for option in np.flatnonzero(cheaper):
                candidate = self.best.copy()
                candidate[block] = option
                if over_bytes_many(self.tables, candidate[None])[0] == 0:
                    value = float(self._evaluate(candidate[None])[0][0])
                    if value <= self.best_value * (1 + 1e-9):
                        self.best, self.best_value = candidate, min(value, self.best_value)
                        break

    @property
    def shares(self) -> Floats:
        """Return the trail scaled to 0..1 per block."""
        scaled: Floats = self.trail / self.trail.max(1, keepdims=True)
        return scaled

    @property
    def entropy(self) -> float:
        """Return the mean entropy of the blocks' choices, 0 (decided) to 1 (open)."""
        open_blocks = self.widths > 1
        if not open_blocks.any():
            return 0.0
        share = self.trail / self.trail.sum(1, keepdims=True)
        nats = -(share * np.log(np.where(share > 0, share, 1.0))).sum(1)
        return float((nats[open_blocks] / np.log(self.widths[open_blocks])).mean())
