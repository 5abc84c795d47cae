"""The linear programs: warm and fresh starts agree, limits hold, nothing is printed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import csr_matrix

from llmdist.planner.program import Program


def _random(seed: int) -> tuple[np.ndarray, csr_matrix, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    matrix = generator.uniform(0.1, 1.0, (6, 10))
    return generator.uniform(0.5, 2.0, 10), csr_matrix(matrix), np.full(6, 2.0), np.full(6, np.inf)


@pytest.mark.parametrize("seed", range(5))
def test_a_warm_start_gives_what_another_solver_gives(seed: int) -> None:
    """Twelve changes of the upper bounds, some of which leave nothing: value and duals as of scipy's fresh solves."""
    goal, matrix, low, high = _random(seed)
    program, generator = Program(goal, matrix, low, high), np.random.default_rng(seed)
    feasible = 0
    for _ in range(12):
        upper = np.where(generator.random(10) < 0.5, 0.0, 3.0)
        found = program.linear(upper)
        other = linprog(goal, A_ub=-matrix, b_ub=-low, bounds=np.stack([np.zeros(10), upper], 1), method="highs")
        assert found.infeasible == (other.status == 2)
        if other.status == 0:
            feasible += 1
            assert found.bound == pytest.approx(other.fun) and found.values is not None and found.duals is not None
            assert (found.duals >= -1e-9)[upper > 0].all() or (found.values >= upper - 1e-9).any()
    assert feasible


def test_whole_numbers_are_whole_and_dearer_and_leave_the_warm_start_alone(capfd: pytest.CaptureFixture[str]) -> None:
    """The bound is at most what was found, at least the linear one; the solver writes nothing to the terminal."""
    goal, matrix, low, high = _random(1)
    program, upper = Program(goal, matrix, low, high), np.full(10, 3.0)
    linear = program.linear(upper)
    found = program.whole(upper, np.ones(10, np.bool_), None, 1000, 1e-9)
    assert found.solved and found.values is not None
    assert np.abs(found.values - found.values.round()).max() < 1e-6
    assert linear.bound < found.bound <= goal @ found.values + 1e-6
    assert program.linear(upper).bound == pytest.approx(linear.bound)
    assert program.whole(np.zeros(10), np.ones(10, np.bool_), 1.0, 1000, 1e-9).infeasible
    assert capfd.readouterr().out == ""
