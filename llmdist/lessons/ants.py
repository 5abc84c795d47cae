"""Lesson 7: a textbook colony and the product's own beside the exact answer, on a problem small enough for it.

All methods price a placement with the same cost model; what differs is how they search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cost.vectorised import evaluate_many
from ..errors import PlanError
from ..hardware.profile import Device, Link
from ..model.blocks import Block
from ..planner import MaxIterations, PlanningProblem, Workload, solve
from ..planner.baselines import dynamic_programming, greedy, random_search
from ..planner.exact import enumerate_optimum
from ..planner.tables import CostTables, cost_tables
from .verdict import Verdict, shown

__all__ = ["Answer", "TextbookColony", "answers", "check_colony", "optimum", "small_problem"]


MOST_ANTS = 1000  # 200 iterations of more would nearly try every placement


@dataclass(frozen=True, slots=True)
class Answer:
    """What one method found: seconds per token, and its distance to the optimum (0.05 = 5 %)."""

    method: str
    seconds: float
    gap: float

    def __str__(self) -> str:
        if not np.isfinite(self.seconds):
            return f"{self.method:24} nothing that fits"
        return f"{self.method:24} {1e3 * self.seconds:7.2f} ms per token  {self.gap:7.1%} above the optimum"


def small_problem(seed: int = 0, layers: int = 5) -> PlanningProblem:
    """Return `layers` layers with unequal sizes, a small GPU, a processor and a disk: 4^(2 x layers) placements."""
    rng = np.random.default_rng(seed)
    blocks = []
    for i in range(layers):
        attention, mlp = (int(rng.integers(4, 12) * 1e6), int(rng.integers(12, 40) * 1e6))
        blocks.append(Block(f"layers.{i}.attention", "attention", attention, attention, 2.0 * attention, 512, 2048.0))
        blocks.append(Block(f"layers.{i}.mlp", "mlp", mlp, mlp, 2.0 * mlp))
    total = sum(block.weight_bytes("bf16") for block in blocks)
    devices = (
        Device("cpu", "cpu", total, total, 40e9, 1e12, 1e-5),
        Device("cuda:0", "cuda", total, total, 400e9, 3e13, 1e-5),
        Device("disk", "disk", 10 * total, 10 * total),
    )
    links = (
        Link("disk", "cpu", 3e9, 1e-4), Link("cpu", "cuda:0", 24e9, 1e-5), Link("cuda:0", "cpu", 24e9, 1e-5),
    )  # fmt: skip
    caps = {"cuda:0": int(0.4 * total), "cpu": int(0.4 * total)}
    return PlanningProblem(tuple(blocks), devices, links, 2048, Workload(1, 64, 64), caps, slots=1)


def optimum(problem: PlanningProblem) -> float:
    """Return the objective of the best of all placements, in seconds; PlanError where they are too many to try."""
    return enumerate_optimum(cost_tables(problem))[1]


def answers(problem: PlanningProblem, seed: int = 0, iterations: int = 60) -> tuple[Answer, ...]:
    """Return what greedy, dynamic programming, random search, both colonies and the exact search find, best first."""
    tables = cost_tables(problem)
    best = enumerate_optimum(tables)[1]
    found = [
        ("exact, every placement", best),
        ("llmdist's colony", solve(problem, seed=seed, stop=MaxIterations(iterations)).objective_seconds),
        ("textbook colony", TextbookColony().run(problem, iterations, seed)[-1]),
    ]
    chosen = {
        "greedy": greedy(tables),
        "dynamic programming": dynamic_programming(tables),
        "random, 2000 tries": random_search(tables, 2000, seed),
    }
    for name, choice in chosen.items():
        seconds, over = evaluate_many(tables, choice[None])
        found.append((name, float(seconds[0]) if over[0] == 0 else float("inf")))
    return tuple(Answer(name, seconds, seconds / best - 1) for name, seconds in sorted(found, key=lambda f: f[1]))


@dataclass(frozen=True, slots=True)
class TextbookColony:
    """A plain MAX-MIN ant system (Stuetzle and Hoos 2000): what the product's colony grew out of.

    Every iteration `ants` build a placement block by block with probability trail^alpha x visibility^beta, where
    visibility is 1 / seconds; a share `evaporation` of the trail is forgotten, and the best ant so far deposits.
    A placement over its caps pays for every byte as if the slowest link had to carry it ten times.
    """

    ants: int = 32
    evaporation: float = 0.1
    alpha: float = 1.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        shares = 0 < self.evaporation <= 1 and 0 <= self.alpha < np.inf and 0 <= self.beta < np.inf
        if not isinstance(self.ants, int) or not 1 <= self.ants <= MOST_ANTS or not shares:
            raise PlanError(
                f"{self} cannot walk: give 1 to {MOST_ANTS} ants, 0 < evaporation <= 1, alpha and beta from 0."
            )

    def run(self, problem: PlanningProblem, iterations: int = 60, seed: int = 0) -> tuple[float, ...]:
        """Return the best seconds per token after every iteration; infinite while nothing fits."""
        tables, generator = cost_tables(problem), np.random.default_rng(seed)
        seconds = tables.decode.compute + tables.decode.copy
        visibility = np.where(tables.valid, 1 / np.maximum(seconds, 1e-12), 0.0)
        visibility /= visibility.max(1, keepdims=True)
        price = 10 / min(link.bandwidth for link in problem.links)
        trail, leader, least, best = np.ones(tables.shape), np.zeros(tables.shape[0], np.int64), np.inf, np.inf
        curve = []
        for _ in range(iterations):
            walked = self._walk(tables, trail**self.alpha * visibility**self.beta, generator)
            values, over = evaluate_many(tables, walked)
            paid = values + price * over
            if paid.min() < least:
                least, leader = paid.min(), walked[paid.argmin()]
            trail *= 1 - self.evaporation
            trail[np.arange(len(leader)), leader] += self.evaporation
            trail = np.clip(trail, 0.01, 1.0)
            best = min(best, float(np.where(over == 0, values, np.inf).min()))
            curve.append(best)
        return tuple(curve)

    def _walk(
        self, tables: CostTables, weight: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        share = (weight / weight.sum(1, keepdims=True)).cumsum(1)
        draws = generator.random((self.ants, tables.shape[0], 1))
        built: np.ndarray = (draws > share[None]).sum(2).clip(max=tables.valid.sum(1) - 1)
        return built


def check_colony(
    parameters: Mapping[str, Any] | TextbookColony, problem: PlanningProblem, seeds: int = 5, gap: float = 0.1
) -> Verdict:
    """Check that a colony comes within `gap` of the optimum for every one of `seeds` seeds in 200 iterations."""
    try:
        colony = parameters if isinstance(parameters, TextbookColony) else TextbookColony(**parameters)
    except PlanError as error:
        return Verdict(False, str(error))
    except TypeError:
        known = ", ".join(TextbookColony.__dataclass_fields__)
        return Verdict(False, f"{shown(parameters)} makes no colony: give a dict of numbers for some of {known}.")
    best = optimum(problem)
    gaps = [colony.run(problem, 200, seed)[-1] / best - 1 for seed in range(seeds)]
    missed, worst = sum(found > gap for found in gaps), max(gaps)
    if missed:
        end = f"worst {worst:.1%}" if np.isfinite(worst) else "or without a plan that fits"
        return Verdict(False, f"{missed} of {seeds} seeds end more than {gap:.0%} above the optimum, {end}.")
    return Verdict(True, f"all {seeds} seeds end within {gap:.0%} of the optimum, worst {worst:.2%}.")
