"""A genetic algorithm: tournaments, two-point crossover, mutation, and the best survive; caps come first."""

from __future__ import annotations

import numpy as np

from .record import Record, random_fitting

__all__ = ["genetic"]

POPULATION, TOURNAMENT = 96, 3


def genetic(record: Record, seed: int = 0) -> None:
    """Evolve until the time is over."""
    tables, generator = record.tables, np.random.default_rng(seed)
    blocks, widths = tables.shape[0], tables.valid.sum(1)
    people = random_fitting(tables, POPULATION, generator)
    values, over = record.consider(people)
    while record.left:
        rank = np.argsort(np.lexsort((values, over)))
        drawn = generator.integers(POPULATION, size=(2, POPULATION, TOURNAMENT))
        parents = np.take_along_axis(drawn, rank[drawn].argmin(2)[..., None], axis=2)[..., 0]
        cuts = np.sort(generator.integers(blocks + 1, size=(POPULATION, 2)), axis=1)
        place = np.arange(blocks)[None]
        inside = (place >= cuts[:, :1]) & (place < cuts[:, 1:])
        children = np.where(inside, people[parents[0]], people[parents[1]])
        mutate = generator.random(children.shape) < 1.5 / blocks
        children = np.where(mutate, np.floor(generator.random(children.shape) * widths).astype(np.int64), children)
        found, excess = record.consider(children)
        people, values, over = (
            np.concatenate([people, children]), np.concatenate([values, found]), np.concatenate([over, excess]),
        )  # fmt: skip
        best = np.lexsort((values, over))[:POPULATION]
        people, values, over = people[best], values[best], over[best]
