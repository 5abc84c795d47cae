"""The bound-guided colony. Macro ants choose how devices stage, micro ants arrange blocks and refine them.

Visibility comes from the relaxation's reduced costs (ANTS, Maniezzo 1999); focused ants resample only part of the
current plan by trail and visibility (Skinderowicz 2022), others arrange the counts of macro ants' plans along the
chain, over several machines led by a trail over how often the chain goes through all of them; the current plan moves
through a neighbourhood that an additive bound screens. One call of `iterate` is one iteration.
"""

from __future__ import annotations

import numpy as np

from ..cost.vectorised import Batch
from .arrange import Spread, arrange, counts_of, site_orders
from .macro import MacroAnts
from .neighbours import Neighbourhood
from .params import ColonyParameters
from .pheromone import Trail
from .result import PlanResult
from .tables import Choices, CostTables, Floats
from .warm import start_choice, start_trail

__all__ = ["ROUNDS", "Colony"]

LEAST_ANTS = 8  # that arrange one plan of many
MOST_SETTLED = 32
PROMISE = 0.03  # a plan that is dearer by less is improved before it is judged
ROUNDS = (1, 2, 3, 4, 6, 8, 12)  # times that the chain goes through the machines


class Colony:
    """The state of one search: trails, current and best plan, evaluations so far."""

    def __init__(
        self, tables: CostTables, macro: MacroAnts, visibility: Floats, params: ColonyParameters,
        generator: np.random.Generator,
    ) -> None:  # fmt: skip
        self.tables, self.macro, self.params, self.generator = tables, macro, params, generator
        self.evaluations = self.iterations = self.idle = 0
        self.widths = tables.valid.sum(1)
        self.visibility = visibility
        self.staged = tables.staged[np.unique(tables.classes, return_index=True)[1]]
        self.neighbourhood = Neighbourhood.of(tables, self.visibility, params.kinds)
        self.trail = Trail(tables.valid, params.evaporation, params.trail_minimum)
        self.rounds = Trail(np.ones((1, len(ROUNDS)), np.bool_), params.evaporation, params.trail_minimum)
        self.best = self.current = np.zeros(tables.shape[0], np.int64)
        self.best_value = self.best_over = self.current_value = self.mean = float("inf")

    @property
    def feasible(self) -> bool:
        """Whether the best plan fits under every cap."""
        return self.best_over == 0

    @property
    def bound_value(self) -> float:
        """The best objective of a plan that fits, infinite before there is one: nothing dearer is of interest."""
        return self.best_value if self.feasible else float("inf")

    def consider(self, choices: Choices) -> tuple[Floats, Floats]:
        """Evaluate and keep the best; a plan over its caps counts only until one fits."""
        batch = Batch(self.tables, choices)
        values, over = np.full(len(choices), np.inf), batch.over
        fits = np.flatnonzero(over == 0) if (over == 0).any() else np.arange(len(choices))
        values[fits] = batch.some(fits).objective
        self.evaluations += len(fits)
        self._keep(choices, values, over)
        return values, over

    def _keep(self, choices: Choices, values: Floats, over: Floats) -> None:
        first = int(np.lexsort((values, over))[0])
        if (over[first], values[first]) < (self.best_over, self.best_value * (1 - 1e-12)):
            self.best, self.best_value, self.best_over = choices[first], float(values[first]), float(over[first])
            self.idle = 0
        if over[first] == self.best_over and values[first] < self.current_value:
            self.current, self.current_value = choices[first], float(values[first])

    def resume(self, start: PlanResult) -> None:
        """Go on from an earlier plan of the same model: its trail, its placement, and its counts made to fit."""
        trail = start_trail(self.tables, start, self.params.trail_minimum)
        choice = start_choice(self.tables, start)
        if trail is not None:
            self.trail.values = trail
        if choice is not None:
            self.consider(choice[None])
            self.try_plans(self.macro.learn(counts_of(self.tables, choice).astype(np.float64)))

    def try_plans(self, plans: list[Choices]) -> None:
        """Arrange the counts of plans, led by the trails, and remember how good each can be."""
        if not plans:
            return
        ants = max(LEAST_ANTS, self.params.ants // len(plans))
        drawn = [self._turns(counts, ants) for counts in plans]
        spread = Spread.joined([Spread.drawn(ants, self.generator, np.array(ROUNDS)[turns]) for turns in drawn])
        choices = arrange(self.tables, plans, spread, self.generator)
        values, over = self.consider(choices)
        values = np.where(over == 0, values, np.inf).reshape(len(plans), ants)
        for plan, (counts, turns) in enumerate(zip(plans, drawn, strict=True)):
            best = int(values[plan].argmin())
            value = float(values[plan, best])
            if turns.any() and np.isfinite(value):
                self.rounds.deposit([(1.0, turns[best : best + 1])])
            if self.params.polish and self.best_value < value < self.best_value * (1 + PROMISE):
                value = self._polish(choices[plan * ants + best], value)
            self.macro.judge(counts, value)

    def _turns(self, counts: Choices, ants: int) -> Choices:
        """Draw how often each ant's chain goes through the machines, as indices into `ROUNDS`; zeros on one machine."""
        several = self.params.turns and len(site_orders(self.tables, counts)[0]) > 1
        if not several or not (self.staged & (counts > 0)).any():
            return np.zeros(ants, np.int64)
        weight = self.rounds.values[0]
        return self.generator.choice(len(ROUNDS), ants, p=weight / weight.sum())

    def _polish(self, choice: Choices, value: float) -> float:
        """Improve a promising plan before it is judged; go on from it if it becomes the better one."""
        current, current_value = self.current, self.current_value
        self.current, self.current_value = choice, value
        for round_ in range(self.params.polish):
            self._improve()
            left = 1 - (round_ + 1) / self.params.polish
            if self.current_value > self.best_value * (1 + PROMISE * left):
                break
        value = self.current_value
        if value > current_value:
            self.current, self.current_value = current, current_value
        return value

    def _focused(self, ants: int) -> Choices:
        """Return ants that resample a few blocks of the current plan from trail and visibility."""
        blocks = self.tables.shape[0]
        weight = self.trail.values * self.visibility
        cumulative = (weight / weight.sum(1, keepdims=True)).cumsum(1)
        ant, block = np.nonzero(self.generator.random((ants, blocks)) < self.params.resampled_blocks / blocks)
        built = np.repeat(self.current[None], ants, axis=0)
        draws = self.generator.random((len(ant), 1)) > cumulative[block]
        built[ant, block] = np.minimum(draws.sum(1), self.widths[block] - 1)
        return built

    def _improve(self) -> None:
        """Local search around the current plan, screened by the additive lower bound."""
        params = self.params
        around = self.neighbourhood.around(self.current, params.neighbours, self.generator, np.array(params.steps))
        around = around[(around != self.current).any(1)]
        if not len(around):
            return
        batch = Batch(self.tables, around)
        if not self.feasible:
            self.consider(around[np.argsort(batch.over, kind="stable")[: params.evaluated]])
            return
        fits = np.flatnonzero(batch.over == 0)
        if params.screening and len(fits):
            floor = batch.floor[fits]
            hopeful = floor < self.current_value
            fits = fits[hopeful][np.argsort(floor[hopeful], kind="stable")]
        if len(fits) > params.evaluated:
            half = params.evaluated // 2
            others = self.generator.choice(fits[half:], params.evaluated - half, replace=False)
            fits = np.concatenate([fits[:half], others])
        if len(fits):
            values = batch.some(fits).objective
            self.evaluations += len(fits)
            self._keep(around[fits], values, np.zeros(len(fits)))

    def _deposit(self, leader: Choices) -> None:
        """Let the iteration's leader, the current plan and the best deposit, as the convergence factor says."""
        factor = self.trail.convergence if self.params.convergence else 0.5
        own = 1.0 if factor < 0.3 else 0.6 if factor < 0.6 else 0.2 if factor < 0.85 else 0.0
        self.trail.deposit([(own, leader), ((1 - own) / 2, self.current), ((1 - own) / 2, self.best)])

    def iterate(self, macro_seconds: float | None) -> None:
        """Walk all ants once, refine the current plan, and deposit."""
        params = self.params
        self.idle += 1
        if params.macro_every and self.iterations % params.macro_every == 0:
            self.try_plans(self.macro.walk(params.macro_ants, self.bound_value, macro_seconds, self.generator))
            self.macro.reward(self.best)
        leader = self.current
        if params.focused_ants:
            ants = self._focused(params.focused_ants)
            values, over = self.consider(ants)
            fitting = values[over == 0]
            self.mean = float(fitting.mean()) if len(fitting) else self.best_value
            leader = ants[int(np.lexsort((values, over))[0])]
        for _ in range(params.rounds):
            self._improve()
        self._deposit(leader)
        self.iterations += 1

    def settle(self) -> None:
        """Make streamed blocks resident where that costs no time and fits: copies that win nothing go."""
        blocks = np.arange(len(self.best))
        for _ in range(MOST_SETTLED):
            resident = self.neighbourhood.resident[self.tables.classes, self.best]
            copied = blocks[(resident >= 0) & (self.tables.decode.copy[blocks, self.best] > 0)]
            candidates = np.repeat(self.best[None], len(copied), axis=0)
            candidates[np.arange(len(copied)), copied] = resident[copied]
            candidates = candidates[Batch(self.tables, candidates).over == 0] if len(copied) else candidates
            if not len(candidates):
                return
            values = Batch(self.tables, candidates).objective
            self.evaluations += len(candidates)
            winner = int(values.argmin())
            if values[winner] > self.best_value * (1 + 1e-9):
                return
            self.best, self.best_value = candidates[winner], min(float(values[winner]), self.best_value)
