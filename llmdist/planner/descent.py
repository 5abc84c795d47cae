"""Descent in the space of counts: a plan is repaired and improved under the additive cost before it is arranged.

A count plan says how many blocks of a class take an option. Moving some blocks of a class to another option
changes every sum by a known row, so all moves, and all pairs of promising moves, are weighed at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .arrange import sites_of
from .tables import Choices, CostTables, Floats

__all__ = ["descend"]

PAIRED = 24
WIDE = 300  # moves per amount above which fewer amounts are tried
AMOUNTS = (1, 2, 4, 8, 16)
PRESSURE = 1e3  # objective lost per share of the weights that is over the caps: fitting comes first


class _Sums:
    """Columns of the additive matrix that price a count plan, and how they become one number."""

    def __init__(self, tables: CostTables, power: float) -> None:
        self.tables, self.power = tables, power
        self.start = np.concatenate([[0], np.cumsum(tables.additive.widths)])
        self.lanes = [i for i, name in enumerate(tables.resources) if name.startswith("lane")]
        self.total = max(1.0, float(tables.weight.max(1).sum()))
        first = np.unique(tables.classes, return_index=True)[1]
        sites = sites_of(tables)[tables.execute[first]]  # [class, option]
        self.sites = int(sites.max()) + 1
        members = np.bincount(tables.classes)
        self.large = np.flatnonzero(members == members.max())[:2]
        crossing = np.zeros((len(members), tables.shape[1], max(0, self.sites - 1)))
        if len(self.large) == 2:
            for border in range(self.sites - 1):
                crossing[self.large[0], :, border] = sites[self.large[0]] <= border
                crossing[self.large[1], :, border] = -1.0 * (sites[self.large[1]] <= border)
        flat = crossing.reshape(len(tables.additive.matrix), -1)
        self.matrix = np.concatenate([tables.additive.matrix, flat], axis=1)
        away = sites_of(tables)[:, None] != sites_of(tables)[None, :]
        paths = tables.decode.transfer[away & ~tables.forbidden]
        self.network = float(paths.min()) if len(paths) else 0.0

    def score(self, sums: Floats, largest: Floats) -> Floats:
        """Return seconds plus the price of being over the caps; `sums` [plan, column], `largest` [plan, exec]."""
        tables, start, problem = self.tables, self.start, self.tables.problem
        memory = sums[:, start[0] : start[1]].copy()
        slots = np.minimum(problem.slots, sums[:, start[4] : start[5]]) * largest
        memory[:, tables.executors] += slots + problem.workspace_bytes * (sums[:, start[3] : start[4]] > 0.5)
        over = np.maximum(memory - tables.caps, 0.0).sum(1)
        over += np.maximum(sums[:, start[1] : start[2]] - tables.pinned_caps, 0.0).sum(1)
        if problem.quality_budget is not None:
            excess = np.maximum(sums[:, start[2]] - problem.quality_budget * (1 + 1e-9), 0.0)
            over += np.where(excess > 1e-12, excess * self.total, 0.0)
        crossings = 2.0 * np.abs(sums[:, start[-1] :]).sum(1) * self.network
        decode = self._seconds(sums[:, start[5]] + crossings, sums[:, start[7] : start[8]])
        if problem.objective == "finish":
            prefill = np.maximum(sums[:, start[6]], sums[:, start[8] : start[9]][:, : -len(tables.executors)].max(1))
            decode = decode * max(0, problem.workload.new_tokens - 1) + prefill * problem.workload.accepted
        return np.asarray(decode * (1.0 + PRESSURE * over / self.total + 10.0 * (over > 0.5)))

    def _seconds(self, chain: Floats, busy: Floats) -> Floats:
        problem = self.tables.problem
        shared = busy[:, : -len(self.tables.executors)]
        alone = np.maximum(chain, shared.max(1, initial=0.0))
        if self.power < np.inf:
            lanes = np.maximum(shared[:, self.lanes] / alone[:, None], 0.0)
            alone = alone * ((chain / alone) ** self.power + (lanes**self.power).sum(1)) ** (1 / self.power)
        if problem.objective == "throughput":
            return np.asarray(np.maximum(alone / problem.workload.in_flight, busy.max(1)))
        return np.asarray(alone)


def _moves(tables: CostTables, counts: Floats, useful: NDArray[np.bool_]) -> tuple[Choices, Choices, Choices]:
    """Return (row of the option left, row of the option taken, blocks) of every move to a useful option."""
    width = tables.shape[1]
    wide = float((counts > 0).sum() * useful.sum() / len(useful)) > WIDE
    steps = np.array(AMOUNTS[::2] if wide else AMOUNTS, np.float64)
    options_of = [c * width + np.flatnonzero(row) for c, row in enumerate(useful)]
    source, target, many = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for row in np.flatnonzero(counts > 0):
        options = options_of[row // width]
        options = options[options != row]
        amounts = np.append(steps[steps < counts[row]], counts[row]).astype(np.int64)
        source.append(np.full(len(options) * len(amounts), row))
        target.append(np.tile(options, len(amounts)))
        many.append(np.repeat(amounts, len(options)))
    return np.concatenate(source), np.concatenate(target), np.concatenate(many)


def _largest(tables: CostTables, counts: Floats, source: Choices, target: Choices, many: Choices) -> Floats:
    """Return the largest staged size per exec device after each move."""
    found = np.zeros((len(source), len(tables.executors)))
    used = np.flatnonzero(counts > 0)
    for device, sizes in enumerate(tables.additive.slot):
        own = sizes[used]
        first = int(own.argmax())
        top = float(own[first])
        if top:
            own[first] = 0.0
            emptied = (source == used[first]) & (many >= counts[used[first]])
            np.maximum(np.where(emptied, own.max(), top), sizes[target], out=found[:, device])
        elif sizes.any():
            found[:, device] = sizes[target]
    return found


def descend(
    tables: CostTables, counts: Choices, useful: NDArray[np.bool_], power: float = np.inf, steps: int = 60
) -> Choices:
    """Return counts [class, option] that fit if that can be reached, and that no single or paired move improves.

    `useful` [class, option] are the options that may be taken. No event graph keeps chain and lanes all busy: the
    seconds are their norm of this `power`, infinite where nothing gets into each other's way.
    """
    prices = _Sums(tables, power)
    current = counts.astype(np.float64).ravel()
    none = np.zeros(1, np.int64)
    sums = current @ prices.matrix
    value = float(prices.score(sums[None], _largest(tables, current, none, none, none))[0])
    for _ in range(steps):
        source, target, many = _moves(tables, current, useful)
        if not len(source):
            break
        change = (prices.matrix[target] - prices.matrix[source]) * many[:, None]
        largest = _largest(tables, current, source, target, many)
        scores = prices.score(sums + change, largest)
        order = np.argsort(scores, kind="stable")
        picked = [int(order[0])]
        if scores[order[0]] >= value * (1 - 1e-9):
            picked, scores = _pair(prices, sums, change, largest, source, many, current, order)
        if not picked or scores[picked[0]] >= value * (1 - 1e-9):
            break
        for move in picked:
            current[source[move]] -= many[move]
            current[target[move]] += many[move]
        sums = current @ prices.matrix
        value = float(prices.score(sums[None], _largest(tables, current, none, none, none))[0])
    return np.asarray(np.round(current).astype(np.int64).reshape(counts.shape))


def _pair(
    prices: _Sums, sums: Floats, change: Floats, largest: Floats, source: Choices, many: Choices, counts: Floats,
    order: Choices,
) -> tuple[list[int], Floats]:  # fmt: skip
    """Return the best pair of moves: one that saves time with one that frees what it needs."""
    time = prices.start[5]
    relief = np.argsort(change[:, time], kind="stable")[: PAIRED // 2]
    some = np.unique(np.concatenate([order[:PAIRED], relief, order[:: max(1, len(order) // PAIRED)][:PAIRED]]))
    left, right = (grid.ravel() for grid in np.meshgrid(some, some, indexing="ij"))
    legal = (left < right) & ((source[left] != source[right]) | (many[left] + many[right] <= counts[source[left]]))
    left, right = left[legal], right[legal]
    if not len(left):
        return [], np.full(len(source), np.inf)
    scores = prices.score(sums + change[left] + change[right], np.maximum(largest[left], largest[right]))
    winner = int(scores.argmin())
    found = np.full(len(source), np.inf)
    found[left[winner]] = scores[winner]
    return [int(left[winner]), int(right[winner])], found
