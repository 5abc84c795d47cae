"""The macro tree and the relaxation below it: bounds that hold for every placement, and close on small problems."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmdist.bench._planner_suite import SUITE
from llmdist.bench.random_problems import random_problem, rich_problem
from llmdist.cost.vectorised import Batch
from llmdist.planner import ColonyParameters, PlanningProblem
from llmdist.planner.arrange import counts_of
from llmdist.planner.baselines import random_choices
from llmdist.planner.bound import Relaxation
from llmdist.planner.exact import enumerate_optimum
from llmdist.planner.macro import MacroAnts
from llmdist.planner.macro_tree import MacroTree
from llmdist.planner.tables import cost_tables


def machines_problem(seed: int) -> PlanningProblem:
    """Return a random problem over two machines that stage with few slots."""
    candidates = range(seed * 1000, seed * 1000 + 1000)
    seed = next(s for s in candidates if "m1/cpu" in {d.name for d in rich_problem(s).devices})
    return replace(rich_problem(seed, layers=6), objective=("latency", "finish")[seed % 2], slots=1 + seed % 2)


@pytest.mark.parametrize("seed", range(8))
def test_no_placement_over_two_machines_beats_the_relaxation_of_its_own_counts(seed: int) -> None:
    """With the counts of any placement, waits for copies included, the program promises at most its seconds."""
    problem = replace(machines_problem(seed), caps={}, quality_budget=None)
    tables = cost_tables(problem)
    relaxation, members = Relaxation(tables), np.bincount(tables.classes)[:, None]
    choices = random_choices(tables, 12, np.random.default_rng(seed))
    values = Batch(tables, choices).objective
    for choice, value in zip(choices, values, strict=True):
        share = counts_of(tables, choice) / members
        found = relaxation.integer(5.0, options=share)
        assert not found.infeasible and found.bound <= value * (1 + 1e-6)


def test_the_relaxation_knows_that_slots_fill_while_the_chain_is_elsewhere() -> None:
    """70B over four machines on 1 Gbit/s: the bound that counts waits is at least 1 % above the one that does not."""
    bound = Relaxation(cost_tables(SUITE["70b-four-1g"]())).linear().bound
    free = replace(SUITE["70b-four-1g"](), slots=64)  # so many that no gap binds
    assert bound > 1.01 * Relaxation(cost_tables(free)).linear().bound


@pytest.mark.parametrize("seed", range(6))
def test_the_tree_closes_below_the_optimum_of_a_small_problem(seed: int) -> None:
    """Expanded to the end, nothing is open below the optimum, and the bound never falls on the way."""
    tables = cost_tables(random_problem(seed, blocks=6))
    _, optimum = enumerate_optimum(tables)
    relaxation = Relaxation(tables)
    tree = MacroTree(relaxation, relaxation.linear())
    bounds = [tree.bound]
    for _ in range(400):
        node = tree.least(optimum)
        if node is None:
            break
        tree.expand(node, optimum, None)
        bounds.append(tree.bound)
    assert tree.least(optimum) is None
    assert bounds == sorted(bounds) and bounds[0] <= min(bounds[-1], optimum) <= optimum


def test_a_few_nodes_raise_the_bound_by_percents() -> None:
    """70B on two cards: forty nodes prove 2 % more than the relaxation alone."""
    relaxation = Relaxation(cost_tables(SUITE["70b-dual-quantised"]()))
    tree = MacroTree(relaxation, relaxation.linear())
    first = tree.bound
    for _ in range(40):
        node = tree.least(float("inf"))
        assert node is not None
        tree.expand(node, float("inf"), None)
    assert tree.bound > 1.02 * first


def test_macro_ants_follow_their_trail() -> None:
    """Where the trail has decided, all macros that are drawn are those of the placement that left it."""
    tables = cost_tables(SUITE["70b-dual-quantised"]())
    relaxation = Relaxation(tables)
    root, generator = relaxation.linear(), np.random.default_rng(0)
    macro = MacroAnts(tables, relaxation, root, ColonyParameters(trail_minimum=1e-9), tables.valid * 1.0)
    choice = random_choices(tables, 1, generator)[0]
    for _ in range(400):
        macro.reward(choice)
    assert (macro.trail.values.argmax(1) == macro.macro_of(choice)).all()
    assert macro.draw(0.0, generator) == []  # nothing is below the bound
    for counts in macro.draw(float("inf"), generator):
        assert (counts.sum(1) == np.bincount(tables.classes)).all()
