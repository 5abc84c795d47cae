"""Neighbours of a placement: move, swap, shift a run, shuffle a window, change one field; many at once.

Swaps, shifts and shuffles stay within one class of equal blocks, so they keep every sum and every cap: they
re-space the streamed blocks, and move the borders between machines. Moves and siblings change sums; two or three
steps together pass tight caps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .arrange import sites_of
from .placement import Assignment
from .tables import Choices, CostTables, Floats

__all__ = ["Neighbourhood"]

KINDS = ("move", "sibling", "near", "far", "window", "border")
LONGEST = 12


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """What is known in advance of a problem: members of classes, siblings of options, likely options.

    `members` [class, rank] are blocks; `siblings` [class, option, j] are options that differ in one field (-1:
    none), `resident` [class, option] the option with the weights at hand, `site` [class, option] its machine; `likely`
    is the cumulative probability of each option per class; `weights` say how often each kind is drawn.
    """

    tables: CostTables
    members: Choices
    sizes: Choices
    rank: Choices
    siblings: Choices
    resident: Choices
    site: Choices
    likely: Floats
    weights: Floats

    @classmethod
    def of(cls, tables: CostTables, visibility: Floats, kinds: Mapping[str, float]) -> Neighbourhood:
        """Return the neighbourhood; `visibility` [block, option] makes options likely, `kinds` weigh the steps."""
        count = int(tables.classes.max()) + 1
        sizes = np.bincount(tables.classes)
        members, rank = np.zeros((count, int(sizes.max())), np.int64), np.zeros(tables.shape[0], np.int64)
        for c in range(count):
            blocks = np.flatnonzero(tables.classes == c)
            members[c, : len(blocks)] = blocks
            rank[blocks] = np.arange(len(blocks))
        first = members[:, 0].tolist()
        likely = visibility[first] + np.where(tables.valid[first], 0.02, 0.0)
        site = sites_of(tables)
        weights = np.array([kinds.get(kind, 0.0) * (kind != "border" or site.max() > 0) for kind in KINDS])
        weights[0] += not weights.any()  # one machine has no borders
        likely = (likely / likely.sum(1, keepdims=True)).cumsum(1)
        return cls(tables, members, sizes, rank, _siblings(tables, first), _resident(tables, first),
                   site[tables.execute[first]], likely, weights / weights.sum())  # fmt: skip

    def around(self, choice: Choices, count: int, generator: np.random.Generator, steps: Floats) -> Choices:
        """Return `count` neighbours of `choice`, some equal; `steps` are probabilities of 1, 2, 3 .. steps."""
        around = np.repeat(choice[None], count, axis=0)
        many = generator.choice(len(steps), size=count, p=steps)
        for step in range(len(steps)):
            rows = np.flatnonzero(many >= step)
            kind = generator.choice(len(KINDS), size=len(rows), p=self.weights)
            for k, name in enumerate(KINDS):
                getattr(self, f"_{name}")(around, rows[kind == k], generator)
        return around

    def _blocks(self, count: int, generator: np.random.Generator) -> Choices:
        return generator.integers(self.tables.shape[0], size=count)

    def _move(self, around: Choices, rows: Choices, generator: np.random.Generator) -> None:
        blocks = self._blocks(len(rows), generator)
        draws = generator.random((len(rows), 1))
        options = (draws > self.likely[self.tables.classes[blocks]]).sum(1)
        around[rows, blocks] = np.minimum(options, self.tables.valid[blocks].sum(1) - 1)

    def _sibling(self, around: Choices, rows: Choices, generator: np.random.Generator) -> None:
        blocks = self._blocks(len(rows), generator)
        choices = self.siblings[self.tables.classes[blocks], around[rows, blocks]]
        count = (choices >= 0).sum(1)
        pick = np.floor(generator.random(len(rows)) * count).astype(np.int64)
        found = choices[np.arange(len(rows)), pick]
        around[rows, blocks] = np.where(found >= 0, found, around[rows, blocks])

    def _swap(self, around: Choices, rows: Choices, first: Choices, offset: Choices) -> None:
        of = self.tables.classes[first]
        second = self.members[of, (self.rank[first] + offset) % self.sizes[of]]
        left, right = around[rows, first], around[rows, second]
        around[rows, first], around[rows, second] = right, left

    def _near(self, around: Choices, rows: Choices, generator: np.random.Generator) -> None:
        offset = generator.integers(1, 5, size=len(rows)) * generator.choice([-1, 1], size=len(rows))
        self._swap(around, rows, self._blocks(len(rows), generator), offset)

    def _far(self, around: Choices, rows: Choices, generator: np.random.Generator) -> None:
        blocks = self._blocks(len(rows), generator)
        self._swap(around, rows, blocks, generator.integers(0, self.tables.shape[0], size=len(rows)))

    def _border(self, around: Choices, rows: Choices, generator: np.random.Generator) -> None:
        """Move a border between two machines one way and a like border the other way: both swap a block."""
        pairs = _border_pairs(self.site[self.tables.classes, around[0]], self.tables.classes)
        if not len(rows) or not len(pairs):
            return
        left, right = pairs[generator.integers(len(pairs), size=len(rows))].T
        around[rows, left], around[rows, right] = around[rows, right], around[rows, left]

    def _window(self, around: Choices, rows: Choices, generator: np.random.Generator) -> None:
        """Shift a run by one, or shuffle it, within one class."""
        blocks = self._blocks(len(rows), generator)
        of, place = self.tables.classes[blocks][:, None], np.arange(LONGEST)[None]
        rest = self.sizes[of[:, 0]] - self.rank[blocks]
        length = np.minimum(generator.integers(2, LONGEST + 1, size=len(rows)), rest)
        inside = place < length[:, None]
        window = self.members[of, np.minimum(self.rank[blocks][:, None] + place, self.sizes[of] - 1)]
        shuffled = generator.random((len(rows), LONGEST))
        shifted = (place + 1.0) % length[:, None] / LONGEST
        keys = np.where(generator.random((len(rows), 1)) < 0.5, shuffled, shifted)
        order = np.argsort(np.where(inside, keys, 2.0 + place), axis=1, kind="stable")
        values = np.take_along_axis(around[rows[:, None], window], order, axis=1)
        around[np.broadcast_to(rows[:, None], inside.shape)[inside], window[inside]] = values[inside]


def _border_pairs(site: Choices, classes: Choices) -> Choices:
    """Return pairs of blocks of one class [pair, 2] on either side of two like borders; `site` is per block."""
    borders = np.flatnonzero(site[:-1] != site[1:])
    if len(borders) < 2:
        return np.zeros((0, 2), np.int64)
    found = [np.zeros((0, 2), np.int64)]
    kinds = site[borders] * (int(site.max()) + 1) + site[borders + 1]
    for kind in np.unique(kinds):
        for c in np.unique(classes):
            members = np.flatnonzero(classes == c)
            after = np.searchsorted(members, borders[kinds == kind], side="right")
            after = after[(after > 0) & (after < len(members))]
            pairs = np.stack(np.meshgrid(members[after - 1], members[after], indexing="ij"), axis=-1).reshape(-1, 2)
            found.append(pairs[~np.eye(len(after), dtype=np.bool_).ravel()])
    return np.concatenate(found)


def _siblings(tables: CostTables, first: list[int]) -> Choices:
    """Return, per class and option, the options that differ in one field, padded with -1."""
    found: list[list[Choices]] = []
    for block in first:
        fields = _codes(tables.options[block])
        differ = (fields[:, None] != fields[None]).sum(2)
        found.append([np.flatnonzero(row == 1) for row in differ])
    width = max((len(row) for rows in found for row in rows), default=0)
    table: NDArray[np.int64] = np.full((len(first), tables.shape[1], max(1, width)), -1, np.int64)
    for c, rows in enumerate(found):
        for k, row in enumerate(rows):
            table[c, k, : len(row)] = row
    return table


def _codes(options: Sequence[Assignment]) -> Choices:
    """Return the fields of options as small numbers, [option, field]."""
    fields = [(o.exec_device, o.home_device, o.precision, o.cpu_eighths, o.on_demand) for o in options]
    known: list[dict[object, int]] = [{} for _ in fields[0]]
    return np.array([[seen.setdefault(x, len(seen)) for seen, x in zip(known, row, strict=True)] for row in fields])


def _resident(tables: CostTables, first: list[int]) -> Choices:
    """Return, per class and option, the option that differs only in keeping the weights at hand (-1: none)."""
    table = np.full((len(first), tables.shape[1]), -1, np.int64)
    for c, block in enumerate(first):
        index = {option: k for k, option in enumerate(tables.options[block])}
        for option, k in index.items():
            table[c, k] = index.get(replace(option, home_device=option.exec_device, on_demand=False), -1)
    return table
