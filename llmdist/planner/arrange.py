"""From counts of options per class to placements: machines in runs along the chain, streamed blocks spread out.

The spread is error diffusion: walking along the chain, each block takes the remaining option that keeps every
lane's copied seconds closest to their share of the passing time, at a price for changing the device. A phase, a
price, noise and the trail make ants differ.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    `local`: whether a lane's time is its own device's (else its whole machine's); `noise`: in mean copies. The chain
    goes `rounds` times through the machines in the order with index `order`: while it is elsewhere, a machine's
    staging slots fill and no copy goes on, so that machines which stream want several turns.
    """

    phase: Floats
    price: Floats
    local: Choices
    noise: Floats
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
        phase[:4], noise[:4] = 0.5, 0.0
        order = generator.integers(CLOSE_ORDERS, size=ants)
        return cls(phase, price, local, noise, order, np.ones(ants, np.int64) if rounds is None else rounds)


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


def _block_sites(tables: CostTables, counts: Choices, orders: Orders, spread: Spread) -> Choices:
    """Return the machine of every block, [ant, block]: each class in runs, so many times through an order."""
    sites, execute = sites_of(tables), _per_class(tables)
    known: dict[tuple[int, int], Choices] = {}
    for key in set(zip((spread.order % len(orders)).tolist(), spread.rounds.tolist(), strict=True)):
        order, rounds = orders[key[0]], key[1]
        known[key] = np.zeros(tables.shape[0], np.int64)
        for c in range(len(counts)):
            many = np.array([int(counts[c][sites[execute[c]] == site].sum()) for site in order])
            ends = many * np.arange(rounds + 1)[:, None] // rounds
            known[key][tables.classes == c] = np.repeat(order * rounds, np.diff(ends, axis=0).ravel())
    return np.array(
        [known[o % len(orders), r] for o, r in zip(spread.order.tolist(), spread.rounds.tolist(), strict=True)]
    )


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
    counts: Choices,
    orders: Orders,
    spread: Spread,
    generator: np.random.Generator,
    liking: Floats | None = None,
) -> Choices:
    """Return placements [ant, block] with the given whole counts [class, option].

    `orders` are those of `site_orders`. `liking` [block, option] is in mean copies: how much an option is preferred.
    """
    ants, blocks = len(spread.phase), tables.shape[0]
    site_of = _block_sites(tables, counts, orders, spread)
    share, mean = _shares(tables, counts)
    debt = -spread.phase[:, None] * mean
    unit = float(mean.max(initial=0.0)) or float(tables.decode.compute.mean())
    left = np.repeat(counts[None], ants, axis=0)
    way = (tables.decode.transfer + np.where(tables.forbidden, 1e6, 0.0)) if len(mean) > 1 else None
    row, previous = np.arange(ants), np.zeros(ants, np.int64)
    choices = np.zeros((ants, blocks), np.int64)
    steps = [_steps(tables, counts, int(b), share, spread) for b in _first(tables)]
    for b in range(blocks):
        c = int(tables.classes[b])
        options, lane, site, change = steps[c]
        after = debt[:, None, :] + change
        if len(options) > 1:
            score = np.abs(after).sum(2)
            score += generator.standard_normal(score.shape) * (spread.noise[:, None] * unit)
            if b and way is not None:
                score += spread.price[:, None] * way[previous[:, None], lane]
            if liking is not None:
                score -= unit * liking[b, options]
            open_ = (left[:, c, options] > 0) & (site == site_of[:, b, None])
            picked = np.where(open_, score, np.inf).argmin(1)
        else:
            picked = np.zeros(ants, np.int64)
        choice = options[picked]
        debt = after[row, picked]
        left[row, c, choice] -= 1
        choices[:, b] = choice
        previous = lane[picked]
    return choices


def _steps(
    tables: CostTables, counts: Choices, block: int, share: Floats, spread: Spread
) -> tuple[Choices, Choices, Choices, Floats]:
    """Return the options of a class, their exec devices and machines, and how they change the lanes' debts."""
    sites, execute = sites_of(tables), tables.execute[block]
    options = np.flatnonzero(counts[tables.classes[block]] > 0)
    lane = execute[options]
    own = lane[:, None] == np.arange(len(sites))
    passes = np.stack([sites[lane][:, None] == sites, own])[spread.local]
    compute, copy = tables.decode.compute[block, options], tables.decode.copy[block, options]
    change = own * copy[:, None] - share[spread.local][:, None, :] * passes * compute[:, None]
    return options, lane, sites[lane], change
