"""The upper level: macro ants choose how each exec device stages, the relaxation says what that allows at best.

A macro is (slots, slot size) of one device; its memory couples all blocks. A macro ant draws a macro for every device
by the trail, or expands the node of the tree of macro choices with the least bound; a bound above the best plan is a
certificate that neither need be looked at again. What is left becomes whole counts, which a descent repairs and
improves and the lower level arranges. Other ants start from the counts of a good plan. How much chain and lanes get
into each other's way in the descent is drawn by a trail of its own: the additive cost alone promises what no
arrangement keeps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .arrange import counts_of, rounded, sites_of
from .bound import Relaxation, Relaxed
from .descent import descend
from .macro_tree import CLOSE, MacroTree
from .params import ColonyParameters
from .pheromone import Trail
from .tables import Choices, CostTables, Floats

__all__ = ["MacroAnts"]

POWERS = (np.inf, 64.0, 32.0, 16.0, 8.0)  # of the norm of chain and lanes in the descent
FAR_POWERS = (np.inf, 64.0, 16.0, 8.0, 4.0, 2.0)  # over several machines, where lanes idle while the chain is elsewhere
KICKS = 0.6  # share of macro ants that start from a known plan
LED = 0.5  # share of the others that the trail leads
MOST_DRAWN = 8  # macros until they are not proven useless
EXPANDED, WIDE_EXPANDED, WIDE = 6, 2, 4  # nodes of the tree for each plan that is tried; with more devices than WIDE
MOST_PLANS = 64
MOST_OPTIONS = 32  # per class: the descent takes the likeliest only


class MacroAnts:
    """What the macro ants know: a trail over [device, macro], a tree with bounds, plans as counts."""

    def __init__(
        self, tables: CostTables, relaxation: Relaxation, root: Relaxed, params: ColonyParameters, visibility: Floats
    ) -> None:
        first = np.unique(tables.classes, return_index=True)[1]
        likely = visibility[first] + np.where(tables.valid[first], 0.02, 0.0)
        self.likely = (likely / likely.sum(1, keepdims=True)).cumsum(1)
        order = np.argsort(np.argsort(-np.where(tables.valid[first], likely, -1.0), axis=1, kind="stable"), axis=1)
        self.useful = tables.valid[first] & (order < MOST_OPTIONS)
        self.movable = tables.valid[first].sum(1) > 1
        self.tables, self.relaxation = tables, relaxation
        self.devices = list(dict.fromkeys(macro.device for macro in relaxation.macros))
        self.of_device = [[m for m in relaxation.macros if m.device == device] for device in self.devices]
        width = max((len(row) for row in self.of_device), default=0)
        valid = np.array([[i < len(row) for i in range(width)] for row in self.of_device], dtype=np.bool_)
        self.trail = Trail(valid.reshape(len(self.devices), width), params.evaporation, params.trail_minimum)
        self.power_of = POWERS if sites_of(tables).max() == 0 else FAR_POWERS
        self.powers = Trail(np.ones((1, len(self.power_of)), np.bool_), params.evaporation, params.trail_minimum)
        self.tree, self.branching = MacroTree(relaxation, root), params.tree
        self.index = {macro.column: i for i, macro in enumerate(relaxation.macros)}
        self.plans: dict[bytes, tuple[float, int, Choices]] = {}  # best objective, index of the power, counts

    def learn(
        self, counts: Floats | None, generator: np.random.Generator | None = None, solved: bool = True
    ) -> list[Choices]:
        """Make counts whole, repair and improve them, and return the plans that are new.

        With a generator the descent's power is drawn by its trail, else it is infinite. Whole counts
        that were `solved` for are a plan of their own: the solver knows of idle lanes, the descent does not.
        """
        if counts is None:
            return []
        power = 0
        if generator is not None:
            weight = self.powers.values[0]
            power = int(generator.choice(len(self.power_of), p=weight / weight.sum()))
        whole = rounded(self.tables, counts)
        plans = [descend(self.tables, whole, self.useful, self.power_of[power])]
        plans += [whole] if solved and (counts == whole).all() else []
        found = {plan.tobytes(): plan for plan in plans if plan.tobytes() not in self.plans}
        self.plans |= {key: (float("inf"), power, plan) for key, plan in found.items()}
        return list(found.values())

    def judge(self, counts: Choices, value: float) -> None:
        """Remember the best objective that an arrangement of a plan has reached; forget the worst of many plans."""
        key = counts.tobytes()
        known, power, _ = self.plans.get(key, (value, 0, counts))
        self.plans[key] = (min(value, known), power, counts)
        if len(self.plans) > MOST_PLANS:
            self.plans = dict(sorted(self.plans.items(), key=lambda item: item[1][0])[: MOST_PLANS // 2])

    def elite(self, generator: np.random.Generator) -> Choices | None:
        """Return one of the best plans, the better the likelier."""
        if not self.plans:
            return None
        ranked = sorted(self.plans.values(), key=lambda plan: plan[0])
        return ranked[int(generator.geometric(0.4) - 1) % len(ranked)][2]

    def _kicked(self, counts: Choices, generator: np.random.Generator) -> Floats:
        """Return a plan with some blocks of up to three options moved to likely others."""
        kicked = counts.astype(np.float64)
        for _ in range(int(generator.integers(1, 4))):
            rows, options = np.nonzero((kicked > 0) & self.movable[:, None])
            if not len(rows):
                break
            pick = int(generator.integers(len(rows)))
            c, source = int(rows[pick]), int(options[pick])
            target = int((generator.random() > self.likely[c]).sum())
            amount = float(min(kicked[c, source], generator.integers(1, 9)))
            kicked[c, source] -= amount
            kicked[c, min(target, len(self.likely[c]) - 1)] += amount
        return kicked

    def macro_of(self, choice: Choices) -> Choices:
        """Return which macro of each device a placement uses."""
        counts = counts_of(self.tables, choice).ravel()
        additive = self.tables.additive
        found = []
        for device, row in zip(self.devices, self.of_device, strict=True):
            staged = (additive.slot[device] > 0) & (counts > 0)
            size = float(additive.slot[device][staged].max(initial=0.0))
            slots = int(min(self.tables.problem.slots, counts[staged].sum()))
            found.append(next((i for i, m in enumerate(row) if (m.size, m.slots) == (size, slots)), 0))
        return np.array(found, dtype=np.int64)

    def bound(self, best: float) -> float:
        """Return what the certificates prove, at most `best`."""
        return min(self.tree.bound, best)

    def explore(self, value: float, seconds: float | None) -> list[Choices]:
        """Expand the nodes with the least bounds; return the plan of the least one left, [] when it is known."""
        for _ in range(EXPANDED if len(self.devices) <= WIDE else WIDE_EXPANDED):
            node = self.tree.least(value)
            if node is None:
                return []
            counts = self.tree.expand(node, value, seconds)
            if node.tries:  # a leaf, which takes its time
                return self.learn(counts)
        node = self.tree.least(value)
        return [] if node is None else self.learn(node.relaxed.counts)

    def walk(self, ants: int, value: float, seconds: float | None, generator: np.random.Generator) -> list[Choices]:
        """Let some macro ants go: return their plans as counts, none that is known or proven useless."""
        found: list[Choices] = []
        for _ in range(ants):
            start = self.elite(generator)
            if start is not None and generator.random() < KICKS:
                found += self.learn(self._kicked(start, generator), generator, solved=False)
            elif generator.random() < LED:
                found += self.draw(value, generator)
            elif self.branching and (node := self.tree.least(value)) is not None:
                found += self.learn(self.tree.expand(node, value, seconds), generator)
        return found

    def draw(self, value: float, generator: np.random.Generator) -> list[Choices]:
        """Draw a macro for each device by the trail; return what the relaxation gives under them, [] when known."""
        for _ in range(MOST_DRAWN if self.devices else 0):
            relaxed = self.relaxation.linear(self._drawn(generator))
            if relaxed.counts is not None and relaxed.bound < value * (1 - CLOSE):
                return self.learn(relaxed.counts, generator)
        return []

    def _drawn(self, generator: np.random.Generator) -> NDArray[np.bool_]:
        """Return which macros are allowed [macro]: one per device, drawn by the trail."""
        allowed = np.zeros(len(self.relaxation.macros), np.bool_)
        for row, weight in zip(self.of_device, self.trail.values, strict=True):
            chosen = int(generator.choice(len(row), p=weight[: len(row)] / weight[: len(row)].sum()))
            allowed[self.index[row[chosen].column]] = True
        return allowed

    def reward(self, choice: Choices) -> None:
        """Let the macros of the best placement leave a trail, and the power that gave the best plan."""
        if self.devices:
            self.trail.deposit([(1.0, self.macro_of(choice))])
        if self.plans:
            power = min(self.plans.values(), key=lambda plan: plan[0])[1]
            self.powers.deposit([(1.0, np.array([power]))])
