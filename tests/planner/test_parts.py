"""The colony's parts one by one: arrangement, descent, trail, macro certificates, neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmdist.bench._planner_suite import SUITE, suite_problem
from llmdist.bench.large_problem import large_problem
from llmdist.bench.random_problems import random_problem, rich_problem
from llmdist.cost.vectorised import Batch
from llmdist.errors import PlanError
from llmdist.planner import Assignment, ColonyParameters
from llmdist.planner.arrange import Spread, arrange, counts_of, sites_of
from llmdist.planner.baselines import random_choices
from llmdist.planner.bound import Relaxation
from llmdist.planner.descent import descend
from llmdist.planner.macro import MacroAnts
from llmdist.planner.neighbours import KINDS, Neighbourhood
from llmdist.planner.pheromone import Trail
from llmdist.planner.tables import cost_tables


@pytest.mark.parametrize("seed", range(8))
def test_an_arrangement_keeps_the_counts(seed: int) -> None:
    """Whatever the order, rounds, price, phase and noise: each class takes each option as often as was planned."""
    tables = cost_tables(rich_problem(seed))
    generator = np.random.default_rng(seed)
    counts = counts_of(tables, random_choices(tables, 1, generator)[0])
    spread = Spread.drawn(24, generator, generator.integers(1, 6, 24))
    for choice in arrange(tables, [counts], spread, generator):
        assert (counts_of(tables, choice) == counts).all()


def test_spread_streams_beat_a_run_of_streams() -> None:
    """A 7B model with one slot: the same counts cost much less when the copies hide behind residents."""
    tables = cost_tables(suite_problem("llama-2-7b", "rtx3060", modes=("resident", "streamed"), slots=1))
    resident, streamed = Assignment("cuda:0", "cuda:0", "bf16"), Assignment("cuda:0", "cpu", "bf16")
    mlps = [b for b, block in enumerate(tables.problem.blocks) if block.kind == "mlp"]
    run = np.array([row.index(streamed if b in mlps[-2:] else resident) for b, row in enumerate(tables.options)])
    generator = np.random.default_rng(0)
    counts = counts_of(tables, run)
    spread = arrange(tables, [counts], Spread.drawn(8, generator), generator)
    assert Batch(tables, spread).objective.min() < 0.95 * Batch(tables, run[None]).objective[0]


def test_plans_are_arranged_together_one_after_the_other() -> None:
    """Three plans share the ants evenly, and each ant keeps the counts of its own plan."""
    tables = cost_tables(rich_problem(3))
    generator = np.random.default_rng(0)
    plans = [counts_of(tables, choice) for choice in random_choices(tables, 3, generator)]
    choices = arrange(tables, plans, Spread.drawn(12, generator), generator)
    for plan, own in zip(plans, choices.reshape(3, 4, -1), strict=True):
        assert all((counts_of(tables, choice) == plan).all() for choice in own)


def test_ants_that_follow_lanes_and_slots_wait_less() -> None:
    """80 layers on two GPUs that both stream: the best of 48 arrangements is at least 3 % quicker."""
    tables = cost_tables(large_problem())
    split = {  # kind -> blocks per (exec device, home), all in int8
        "embed": {("cuda:1", "cpu"): 1}, "head": {("cpu", "cpu"): 1},
        "attention": {("cpu", "cpu"): 4, ("cuda:0", "cpu"): 10, ("cuda:0", "cuda:0"): 29, ("cuda:1", "cpu"): 37},
        "mlp": {("cpu", "cpu"): 25, ("cuda:0", "cpu"): 14, ("cuda:0", "cuda:0"): 25, ("cuda:1", "cuda:1"): 16},
    }  # fmt: skip
    first = np.unique(tables.classes, return_index=True)[1]
    counts = np.zeros((len(first), tables.shape[1]), np.int64)
    for c, b in enumerate(first):
        for (execute, home), many in split[tables.problem.blocks[b].kind].items():
            counts[c, tables.options[b].index(Assignment(execute, home, "int8"))] = many
    spread = Spread.drawn(48, np.random.default_rng(0))
    blind = replace(spread, wait=0.0 * spread.wait, even=0.0 * spread.even)
    best, without = (
        Batch(tables, arrange(tables, [counts], ants, np.random.default_rng(1))).objective.min()
        for ants in (spread, blind)
    )
    assert best < 0.97 * without


def test_a_norm_of_chain_and_lanes_avoids_plans_that_need_them_all() -> None:
    """The smaller the power of the descent, the less the lanes of its plan are in use, 32B on four machines."""
    tables = cost_tables(SUITE["32b-four-10g"]())
    useful = tables.valid[np.unique(tables.classes, return_index=True)[1]]
    start = counts_of(tables, random_choices(tables, 1, np.random.default_rng(0))[0])
    lanes = [i for i, name in enumerate(tables.resources) if name.startswith("lane")]
    used = [
        tables.additive.of_counts(descend(tables, start, useful, power).ravel()[None] * 1.0).decode_busy[0, lanes].sum()
        for power in (np.inf, 2.0)
    ]
    assert used[1] < used[0]


@pytest.mark.parametrize("seed", range(6))
def test_the_descent_repairs_and_improves_a_plan(seed: int) -> None:
    """From a random plan of a 7B model on a small card: it fits, and no step makes the additive cost worse."""
    problem = suite_problem("llama-2-7b", "laptop8g")
    tables = cost_tables(problem)
    generator = np.random.default_rng(seed)
    start = counts_of(tables, random_choices(tables, 1, generator)[0])
    useful = tables.valid[np.unique(tables.classes, return_index=True)[1]]
    counts = descend(tables, start, useful)
    assert (counts.sum(1) == start.sum(1)).all() and (counts >= 0).all()
    choice = arrange(tables, [counts], Spread.drawn(2, generator), generator)
    assert (Batch(tables, choice).over == 0).all()
    again = arrange(tables, [descend(tables, counts, useful)], Spread.drawn(2, generator), generator)
    assert Batch(tables, again).floor.min() <= Batch(tables, choice).floor.min() * 1.01


def test_swaps_shifts_and_shuffles_keep_every_sum() -> None:
    """They stay within one class, so counts do not change; moves and siblings change them."""
    tables = cost_tables(rich_problem(5, 6))
    choice = random_choices(tables, 1, np.random.default_rng(1))[0]
    visibility = tables.valid.astype(float)
    for kind in [kind for kind in KINDS if kind != "border"]:
        around = Neighbourhood.of(tables, visibility, {kind: 1.0}).around(
            choice, 64, np.random.default_rng(2), np.array([1.0])
        )
        kept = [bool((counts_of(tables, other) == counts_of(tables, choice)).all()) for other in around]
        assert (around != choice).any()
        assert all(kept) == (kind in ("near", "far", "window"))
        assert all(tables.valid[np.arange(len(other)), other].all() for other in around)


def test_borders_between_machines_move_in_pairs() -> None:
    """Every count stays, one border moves one way and a like one the other; on one machine there is nothing to move."""
    tables = cost_tables(SUITE["32b-four-10g"]())
    generator = np.random.default_rng(0)
    relaxation = Relaxation(tables)
    root = relaxation.linear()
    whole = MacroAnts(tables, relaxation, root, ColonyParameters(), tables.valid * 1.0).learn(root.counts)[0]
    spread = Spread.drawn(1, generator, np.array([4]))
    choice = arrange(tables, [whole], spread, generator)[0]
    sites = sites_of(tables)[tables.execute]
    machine = np.take_along_axis(sites, choice[:, None], 1)[:, 0]
    likely = tables.valid.astype(float)
    around = Neighbourhood.of(tables, likely, {"border": 1.0}).around(choice, 64, generator, np.array([1.0]))
    for other in around:
        assert (counts_of(tables, other) == counts_of(tables, choice)).all()
        changed = np.flatnonzero(other != choice)
        moved = np.take_along_axis(sites, other[:, None], 1)[:, 0]
        assert len(changed) == 2 and (moved != machine).sum() == 2
        for block in changed:  # beside a border, at most one block of another kind away
            assert len(set(machine[max(0, block - 2) : block + 3].tolist())) > 1
    alone = cost_tables(suite_problem("llama-2-7b", "laptop8g"))
    one = random_choices(alone, 1, generator)[0]
    neighbours = Neighbourhood.of(alone, alone.valid * 1.0, {"border": 1.0})
    assert neighbours.around(one, 8, generator, np.array([1.0])).shape == (8, len(one))


def test_the_trail_keeps_its_limits_and_converges_to_what_is_deposited() -> None:
    """Values stay in low .. 1 - low, entropy falls, the convergence factor rises to 1."""
    trail = Trail(np.ones((6, 4), dtype=bool), 0.2, 0.01)
    entropy, factor = trail.entropy, trail.convergence
    for _ in range(200):
        trail.deposit([(1.0, np.zeros(6, dtype=np.int64))])
    assert trail.values.min() >= 0.01 and trail.values.max() <= 0.99
    assert trail.entropy < 0.2 < entropy and trail.convergence > 0.95 > factor
    assert trail.shares[:, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(4))
def test_barring_macro_choices_only_raises_the_bound(seed: int) -> None:
    """The bound under one macro choice of a device is at least the bound without such a limit."""
    relaxation = Relaxation(cost_tables(random_problem(seed, blocks=6)))
    free = relaxation.linear().bound
    bounds = []
    for index, macro in enumerate(relaxation.macros):
        others = np.array([i == index or m.device != macro.device for i, m in enumerate(relaxation.macros)])
        bounds.append(relaxation.linear(others).bound)
    assert all(bound >= free * (1 - 1e-6) for bound in bounds)


def test_wrong_parameters_are_refused() -> None:
    """Counts, shares and steps are checked when they are made."""
    wrongs = ({"ants": 0}, {"evaporation": 0.0}, {"steps": (0.5, 0.1)}, {"theta": -1.0}, {"focused_ants": -1})
    for wrong in wrongs:
        with pytest.raises(PlanError):
            replace(ColonyParameters(), **wrong)
