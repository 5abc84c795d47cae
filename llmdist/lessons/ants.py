"""Lesson 7: the colony beside the exact answer, on a problem small enough to try every placement.

All methods price a placement with the same cost model; what differs is how they search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..cost.vectorised import evaluate_many
from ..errors import LlmdistError
from ..hardware.profile import Device, Link
from ..model.blocks import Block
from ..planner import ColonyParameters, MaxIterations, PlanningProblem, Workload, solve
from ..planner.baselines import dynamic_programming, greedy, random_search
from ..planner.exact import enumerate_optimum
from ..planner.tables import cost_tables
from .verdict import Verdict

__all__ = ["Answer", "answers", "check_colony", "colony_curve", "small_problem"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one method found: seconds per token, and its distance to the optimum (0.05 = 5 %)."""

    method: str
    seconds: float
    gap: float


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
    caps = {"cuda:0": int(0.45 * total), "cpu": int(0.6 * total)}
    return PlanningProblem(tuple(blocks), devices, links, 2048, Workload(1, 64, 64), caps)


def answers(problem: PlanningProblem, seed: int = 0, iterations: int = 60) -> tuple[Answer, ...]:
    """Return what greedy, dynamic programming, random search, the colony and the exact search find.

    Raises
    ------
    LlmdistError : the problem is too large to enumerate.
    """
    tables = cost_tables(problem)
    _, optimum = enumerate_optimum(tables)
    colony = solve(problem, seed=seed, stop=MaxIterations(iterations))
    chosen = {
        "greedy": greedy(tables),
        "dynamic programming": dynamic_programming(tables),
        "random, 2000 tries": random_search(tables, 2000, seed),
    }
    found = [("exact, every placement", optimum), ("ant colony", colony.objective_seconds)]
    for name, choice in chosen.items():
        seconds, over = evaluate_many(tables, choice[None])
        found.append((name, float(seconds[0]) if over[0] == 0 else float("inf")))
    return tuple(Answer(name, seconds, seconds / optimum - 1) for name, seconds in sorted(found, key=lambda f: f[1]))


def colony_curve(
    problem: PlanningProblem, parameters: ColonyParameters, iterations: int = 60, seed: int = 0
) -> tuple[float, ...]:
    """Return the best seconds per token after every iteration of one colony."""
    plan = solve(problem, seed=seed, stop=MaxIterations(iterations), params=parameters)
    return tuple(row.best for row in plan.history)


def check_colony(parameters: ColonyParameters, problem: PlanningProblem, seeds: int = 5, gap: float = 0.01) -> Verdict:
    """Check that a colony with `parameters` comes within `gap` of the optimum for every seed."""
    try:
        _, optimum = enumerate_optimum(cost_tables(problem))
        plans = [solve(problem, seed=s, stop=MaxIterations(60), params=parameters) for s in range(seeds)]
    except LlmdistError as error:
        return Verdict(False, str(error))
    gaps = [plan.objective_seconds / optimum - 1 for plan in plans]
    missed = sum(found > gap for found in gaps)
    if missed:
        return Verdict(False, f"{missed} of {seeds} seeds end more than {gap:.0%} from the optimum, at worst {max(gaps):.1%}.")
    return Verdict(True, f"all {seeds} seeds end within {gap:.0%} of the optimum, at worst {max(gaps):.2%}.")
