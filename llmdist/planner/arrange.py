"""From counts of options per class to placements: machines in runs along the chain, streamed blocks spread out.

The spread is error diffusion: walking along the chain, each block takes the remaining option that keeps every
lane's copied seconds closest to their share of the passing time, at a price for changing the device and for waiting
until a copy has arrived: lanes and slots are followed as the ant walks. A phase, prices, evenness and
noise make ants differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise, permutations

import numpy as np

from .tables import Choices, CostTables, Floats

__all__ = ["Orders", "Spread", "arrange", "counts_of", "rounded", "site_orders", "sites_of"]

Orders = list[tuple[int, ...]]

MOST_ORDERS = 24
CLOSE_ORDERS = 4  # of which one is drawn


@dataclass(frozen=True, slots=True)
class Spread:
    """How ants arrange, one entry per ant.

    `phase`: share of a mean copy that the lanes owe at the start; `price`: factor on the seconds of a transfer;
    `local`: whether a lane's time is its own device's (else its whole machine's); `noise`: in mean copies; `wait`:
    factor on the seconds that a block would wait for its copy; `even`: mean copies by which an option is preferred for
    each block that it lags behind an even spread over its class. The chain goes `rounds` times through the machines in
    the order with index `order`: while it is elsewhere, a machine's staging slots fill and no copy goes on, so that
    machines which stream want several turns.
    """

    phase: Floats
    price: Floats
    local: Choices
    noise: Floats
    wait: Floats
    even: Floats
    order: Choices
    rounds: Choices

    @classmethod
    def drawn(cls, ants: int, generator: np.random.Generator, rounds: Choices | None = None) -> Spread:
        """Return a random spread for every ant, the first four plain; `rounds` has one entry per ant (None: 1)."""
        price = 10.0 ** generator.uniform(-0.5, 3.5, ants)
        price[:4] = [1.0, 1.0, 1e3, 1e3][:ants]
        local = (generator.random(ants) < 0.5).astype(np.int64)
        local[:4] = [0, 1, 0, 1][:ants]
        phase, noise = generator.random(ants), generator.exponential(0.3, ants)
        wait, even = 10.0 ** generator.uniform(0.5, 2.0, ants), 10.0 ** generator.uniform(-0.5, 0.5, ants)
        even[generator.random(ants) < 0.5] = 0.0
        phase[:4], noise[:4] = 0.5, 0.0
        wait[:4], even[:4] = 10.0, [0.0, 1.0, 1.0, 0.0][:ants]
        order = generator.integers(CLOSE_ORDERS, size=ants)
        turns = np.ones(ants, np.int64) if rounds is None else rounds
        return cls(phase, price, local, noise, wait, even, order, turns)

    @classmethod
    def joined(cls, parts: Sequence[Spread]) -> Spread:
        """Return the ants of several spreads, one after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def counts_of(tables: CostTables, choice: Choices) -> Choices:
    """Return how many blocks of each class take each option, [class, option]."""
    counts = np.zeros((int(tables.classes.max()) + 1, tables.shape[1]), np.int64)
    np.add.at(counts, (tables.classes, choice), 1)
    return counts


def rounded(tables: CostTables, counts: Floats) -> Choices:
    """Return whole counts near fractional ones: each class by largest remainders."""
    floor = np.floor(counts + 1e-9)
    whole = floor.astype(np.int64)
    for c, members in enumerate(np.bincount(tables.classes)):
        order = np.argsort(-(counts[c] - floor[c]), kind="stable")
        whole[c, order[: max(0, int(members) - int(whole[c].sum()))]] += 1
    return whole


def sites_of(tables: CostTables) -> Choices:
    """Return the machine of every exec device as an index."""
    devices = [tables.problem.devices[m] for m in tables.executors]
    names = list(dict.fromkeys(device.machine for device in devices))
    return np.array([names.index(device.machine) for device in devices])


def site_orders(tables: CostTables, counts: Choices) -> Orders:
    """Return orders of the machines in use along the chain, the quickest transfers first."""
    sites = sites_of(tables)
    used = np.flatnonzero(np.bincount(sites[_per_class(tables)[counts > 0]])).tolist()
    if len(used) < 2:
        return [tuple(used)]
    paths = np.where(tables.forbidden, 1e9, tables.decode.transfer)
    way = {(s, t): paths[np.ix_(sites == s, sites == t)].min() for s in used for t in used}
    found = permutations(used) if len(used) <= 4 else ((*used[i:], *used[:i]) for i in range(len(used)))
    return sorted(found, key=lambda o: sum(way[pair] for pair in pairwise(o)))[:MOST_ORDERS]


def _per_class(tables: CostTables) -> Choices:
    """Return the exec device of every class and option."""
    return tables.execute[_first(tables)]


def _first(tables: CostTables) -> Choices:
    return np.unique(tables.classes, return_index=True)[1]


def _block_sites(tables: CostTables, counts: Choices, order: tuple[int, ...], rounds: int) -> Choices:
    """Return the machine of every block: each class in runs, so many times through the machines in this order."""
    sites, execute = sites_of(tables), _per_class(tables)
    found = np.zeros(tables.shape[0], np.int64)
    for c in range(len(counts)):
        many = np.array([int(counts[c][sites[execute[c]] == site].sum()) for site in order])
        ends = many * np.arange(rounds + 1)[:, None] // rounds
        found[tables.classes == c] = np.repeat(order * rounds, np.diff(ends, axis=0).ravel())
    return found


def _sites(tables: CostTables, plans: Choices, of: Choices, spread: Spread) -> Choices:
    """Return the machine of every block, [ant, block]; ant i arranges plan of[i]."""
    orders = [site_orders(tables, counts) for counts in plans]
    known: dict[tuple[int, int, int], Choices] = {}
    found = []
    for plan, index, rounds in zip(of.tolist(), spread.order.tolist(), spread.rounds.tolist(), strict=True):
        key = (plan, index % len(orders[plan]), rounds)
        if key not in known:
            known[key] = _block_sites(tables, plans[plan], orders[plan][key[1]], rounds)
        found.append(known[key])
    return np.array(found)


def _shares(tables: CostTables, counts: Choices) -> tuple[Floats, Floats]:
    """Return copied seconds per passing second [local, lane] and the mean copy [lane]."""
    first, execute, sites = _first(tables), _per_class(tables), sites_of(tables)
    lanes = len(tables.executors)
    copied, computed, events = np.zeros(lanes), np.zeros(lanes), np.zeros(lanes)
    np.add.at(copied, execute, counts * tables.decode.copy[first])
    np.add.at(computed, execute, counts * tables.decode.compute[first])
    np.add.at(events, execute, counts * tables.streamed[first])
    together = np.array([computed[sites == site].sum() for site in sites])
    passing = np.maximum(np.stack([together, computed]), 1e-30)
    return copied / passing, copied / np.maximum(events, 1.0)


def arrange(
    tables: CostTables,
    plans: Sequence[Choices],
    spread: Spread,
    generator: np.random.Generator,
) -> Choices:
    """Return placements [ant, block] of plans as whole counts [class, option], one plan after the other.

    Each plan is arranged by an equal share of the ants.
    """
    ants, blocks = len(spread.phase), tables.shape[0]
    of = np.arange(ants) * len(plans) // ants
    counts = np.array(plans)
    site_of = _sites(tables, counts, of, spread)
    shares, means = (np.array(part) for part in zip(*(_shares(tables, plan) for plan in plans), strict=True))
    unit = means.max(1)[of]
    unit = np.where(unit > 0, unit, tables.decode.compute.mean())[:, None]
    debt = -spread.phase[:, None] * means[of]
    steps = [_Step.of(tables, counts, int(b), of, shares, spread) for b in _first(tables)]
    left = [step.counts.copy() for step in steps]
    way = tables.decode.transfer + np.where(tables.forbidden, 1e6, 0.0)
    noise = generator.standard_normal((blocks, ants, max(len(step.options) for step in steps)))
    noise *= spread.noise[:, None] * unit
    wait, even, price = spread.wait[:, None], spread.even[:, None] * unit, spread.price[:, None]
    copies = _Copies(tables, means[of]) if means.any() else None
    row, previous = np.arange(ants), np.zeros(ants, np.int64)
    choices = np.zeros((ants, blocks), np.int64)
    passed = np.zeros(len(steps))
    for b, c in enumerate(tables.classes.tolist()):
        step, remain = steps[c], left[c]
        arrival = way[previous[:, None], step.lane] if b else np.zeros((ants, len(step.lane)))
        if len(step.options) > 1:
            score = np.abs(debt[:, None, :] + step.change).sum(2)
            score += noise[b, :, : len(step.options)]
            score += price * arrival
            score -= even * (step.counts * ((passed[c] + 0.5) / step.blocks - 1.0) + remain)
            if copies is not None:
                score += wait * copies.waits(b, step, arrival)
            score[(remain <= 0) | (step.site != site_of[:, b, None])] = np.inf
            picked = score.argmin(1)
        else:
            picked = np.zeros(ants, np.int64)
        debt += step.change[row, picked]
        remain[row, picked] -= 1
        passed[c] += 1
        choices[:, b] = step.options[picked]
        previous = step.lane[picked]
        if copies is not None:
            copies.take(b, choices[:, b], previous, arrival[row, picked])
    return choices


@dataclass(frozen=True, slots=True)
class _Step:
    """What ants choose from in one class: options, their exec devices and machines, [ant, option] counts.

    `change` [ant, option, lane] is how an option changes what the lanes owe.
    """

    options: Choices
    lane: Choices
    site: Choices
    counts: Choices
    change: Floats
    blocks: int

    @classmethod
    def of(
        cls, tables: CostTables, plans: Choices, block: int, of: Choices, shares: Floats, spread: Spread
    ) -> _Step:
        """Return the step of the class of `block`; ant i arranges plan of[i], [plan, local, lane] `shares`."""
        sites, c = sites_of(tables), tables.classes[block]
        options = np.flatnonzero(plans[:, c].any(0))
        lane = tables.execute[block, options]
        own = lane[:, None] == np.arange(len(sites))
        passes = np.stack([sites[lane][:, None] == sites, own])[spread.local]
        compute, copy = tables.decode.compute[block, options], tables.decode.copy[block, options]
        change = own * copy[:, None] - shares[of, spread.local][:, None, :] * passes * compute[:, None]
        return cls(options, lane, sites[lane], plans[of][:, c, options], change, int(plans[0, c].sum()))


class _Copies:
    """The lanes of ants that walk: the time, when a lane may begin its next copy, when its slots are free.

    The first copies came behind the tail of the token before. `mean` [ant, lane] is the mean copy.
    """

    def __init__(self, tables: CostTables, mean: Floats) -> None:
        self.tables, self.row = tables, np.arange(len(mean))
        self.now = np.zeros(len(mean))
        self.ready = -tables.problem.slots * mean
        self.slots = np.repeat(self.ready[:, :, None], tables.problem.slots, axis=2)
        self.oldest = np.zeros(mean.shape, np.int64)

    def waits(self, block: int, step: _Step, arrival: Floats) -> Floats:
        """Return the seconds that `block` would wait for its copy, [ant, option], after the activations' way."""
        late = self.ready[:, step.lane] + self.tables.decode.copy[block, step.options] - arrival - self.now[:, None]
        return np.asarray(np.maximum(late, 0.0) * self.tables.streamed[block, step.options])

    def take(self, block: int, choice: Choices, lane: Choices, arrival: Floats) -> None:
        """Let every ant's block compute on the exec device `lane`."""
        costs, slots = self.tables.decode, self.tables.problem.slots
        self.now += arrival
        streamed = np.flatnonzero(self.tables.streamed[block, choice])
        lane = lane[streamed]
        copied = self.ready[streamed, lane] + costs.copy[block, choice[streamed]]
        self.now[streamed] = np.maximum(self.now[streamed], copied)
        self.now += costs.compute[block, choice]
        oldest = self.oldest[streamed, lane]
        self.slots[streamed, lane, oldest] = self.now[streamed]
        oldest = (oldest + 1) % slots
        self.oldest[streamed, lane] = oldest
        self.ready[streamed, lane] = np.maximum(copied, self.slots[streamed, lane, oldest])
