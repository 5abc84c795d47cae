"""Branch and bound over macro choices: how many staging slots each exec device holds, and how large.

A node allows some macros of each device; its bound is the relaxation under them. It is split at the device whose
macro is least decided, its macros ordered by slots and size. Where all are decided, whole counts are searched for.
The least bound over all nodes bounds the problem, and a node above the best plan is never looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bound import Relaxation, Relaxed
from .tables import Choices, Floats

__all__ = ["MacroTree", "Node"]

CLOSE = 1e-6
FIRST_NODES = 100  # of the solver, at a leaf
LEAF_GAP = 1e-4
MOST_TRIES, MOST_TIMED_TRIES = 2, 4  # with four times the nodes and twice the time of the try before


@dataclass(eq=False, slots=True)
class Node:
    """Allowed macros [macro], what the relaxation gave, and how often whole counts were searched for."""

    allowed: NDArray[np.bool_]
    bound: float
    relaxed: Relaxed
    tries: int = 0


class MacroTree:
    """The open nodes, and the least bound of those that are done."""

    def __init__(self, relaxation: Relaxation, root: Relaxed) -> None:
        self.relaxation = relaxation
        self.device = np.array([macro.device for macro in relaxation.macros], np.int64)
        order = sorted(range(len(self.device)), key=lambda i: (relaxation.macros[i].slots, relaxation.macros[i].size))
        self.order: Choices = np.array(order, np.int64)
        self.open = [Node(np.ones(len(self.device), np.bool_), root.bound, root)]
        self.done = float("inf")

    @property
    def bound(self) -> float:
        """Return what no placement can beat, in seconds."""
        return min([self.done, *(node.bound for node in self.open)])

    def least(self, value: float) -> Node | None:
        """Return the open node with the least bound, None when all are above `value`."""
        node = min(self.open, key=lambda node: node.bound, default=None)
        return node if node is not None and node.bound < value * (1 - CLOSE) else None

    def whole(self, seconds: float | None, nodes: int) -> Floats | None:
        """Search for whole counts under all open macros of the least node, without splitting it."""
        node = min(self.open, key=lambda node: node.bound)
        found = self.relaxation.integer(seconds, node.allowed, nodes=nodes)
        node.bound = max(node.bound, found.bound)
        return found.counts

    def expand(self, node: Node, value: float, seconds: float | None) -> Floats | None:
        """Split a node, or search for whole counts at a leaf; return the counts of the better part."""
        self.open.remove(node)
        halves = self._halves(node)
        if not halves:
            return self._leaf(node, seconds)
        parts = []
        for half, same in halves:
            allowed = node.allowed.copy()
            allowed[self.device == self.device[half[0]]] = False
            allowed[half] = True
            relaxed = node.relaxed if same else self.relaxation.linear(allowed)
            bound = max(node.bound, relaxed.bound)
            if relaxed.infeasible:
                continue
            if relaxed.counts is None or bound >= value * (1 - CLOSE):  # the solver failed, or nothing to be found
                self.done = min(self.done, bound)
            else:
                parts.append(Node(allowed, bound, relaxed))
        self.open += parts
        return min(parts, key=lambda part: part.bound).relaxed.counts if parts else None

    def _halves(self, node: Node) -> list[tuple[Choices, bool]]:
        """Return two parts of one device's macros, and whether the relaxation lies within; [] at a leaf."""
        share = node.relaxed.macros
        if share is None or not len(share):
            return []
        best = {int(device): float(share[self.device == device].max()) for device in np.unique(self.device)}
        rows = {d: self.order[(self.device[self.order] == d) & node.allowed[self.order]] for d in best}
        device = min(best, key=lambda d: best[d])
        if best[device] > 1 - CLOSE:
            device = max(rows, key=lambda d: len(rows[d]))
            decided = share[rows[device]] > 0.5
            return [(rows[device][decided], True), (rows[device][~decided], False)] if len(decided) > 1 else []
        row = rows[device]
        weight = share[row].cumsum()
        cut = int(np.clip(np.searchsorted(weight, weight[-1] / 2 - 1e-9) + 1, 1, len(row) - 1))
        return [(row[:cut], False), (row[cut:], False)]

    def _leaf(self, node: Node, seconds: float | None) -> Floats | None:
        patience = None if seconds is None else seconds * 2**node.tries
        nodes = FIRST_NODES * 4**node.tries
        whole = self.relaxation.integer(patience, node.allowed, nodes=nodes, gap=LEAF_GAP)
        if whole.infeasible:
            return None
        node.bound, node.tries = max(node.bound, whole.bound), node.tries + 1
        if whole.solved or node.tries >= (MOST_TRIES if seconds is None else MOST_TIMED_TRIES):
            self.done = min(self.done, node.bound)
        else:
            self.open.append(node)
        return whole.counts
