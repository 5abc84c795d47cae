"""A lower bound of the objective: the relaxation solved by HiGHS, linear or with whole counts and macro choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_matrix, vstack

from .relaxation import Macro, Rows, build_rows
from .tables import CostTables, Floats

__all__ = ["Relaxation", "Relaxed"]

SAFETY = 1e-6


@dataclass(frozen=True, slots=True)
class Relaxed:
    """What one solve gave: a valid bound in seconds, counts [class, option], reduced costs in seconds.

    `macros` are the shares of the macro choices; `solved` says that whole counts are optimal to the gap asked for.
    """

    bound: float
    counts: Floats | None = None
    reduced: Floats | None = None
    macros: Floats | None = None
    infeasible: bool = False
    solved: bool = False


class Relaxation:
    """The relaxation of one problem; its rows are collected once, then solved in several ways."""

    def __init__(self, tables: CostTables) -> None:
        self.tables = tables
        self.rows: Rows = build_rows(tables)
        self.matrix = self.rows.matrix()
        self.low, self.high = np.array(self.rows.low), np.array(self.rows.high)
        equal = self.low == self.high
        above, below = np.isfinite(self.high) & ~equal, np.isfinite(self.low) & ~equal
        self._above = vstack([self.matrix[above], -self.matrix[below]]).tocsc()
        self._limit = np.concatenate([self.high[above], -self.low[below]])
        self._equal, self._level = self.matrix[equal].tocsc(), self.high[equal]
        self._goal, self._columns = self.rows.goal(), np.array([m.column for m in self.rows.macros], np.int64)

    @property
    def macros(self) -> Sequence[Macro]:
        """The macro choices of all exec devices that can stage."""
        return self.rows.macros

    def _limits(self, allowed: NDArray[np.bool_] | None, options: NDArray[np.bool_] | None) -> Floats:
        """Return upper bounds; `allowed` per macro and `options` [class, option] bar columns."""
        upper = np.array(self.rows.upper)
        if allowed is not None:
            upper[[m.column for m in self.macros]] *= allowed
        if options is not None:
            upper[: options.size] *= options.ravel()
        return upper

    def _counts(self, solution: Floats) -> Floats:
        return np.asarray(solution[: len(self.rows.members) * self.rows.width].reshape(len(self.rows.members), -1))

    def linear(self, allowed: NDArray[np.bool_] | None = None) -> Relaxed:
        """Return the linear relaxation's bound, fractional counts and reduced costs [class, option]."""
        upper = self._limits(allowed, None)
        found: Any = linprog(  # type: ignore[call-overload]
            self._goal,
            A_ub=self._above,
            b_ub=self._limit,
            A_eq=self._equal,
            b_eq=self._level,
            bounds=np.stack([np.zeros(len(upper)), upper], axis=1),
            method="highs",
        )
        if found.status == 2:
            return Relaxed(float("inf"), infeasible=True)
        if found.status != 0:
            return Relaxed(0.0)
        reduced = np.maximum(self._counts(found.lower.marginals) * self.rows.scale, 0.0)
        bound = found.fun * self.rows.scale * (1 - SAFETY)
        return Relaxed(bound, self._counts(found.x), reduced, found.x[self._columns])

    def integer(
        self,
        seconds: float | None = None,
        allowed: NDArray[np.bool_] | None = None,
        options: NDArray[np.bool_] | None = None,
        nodes: int = 2000,
        gap: float = 1e-5,
        slack: float = 0.0,
    ) -> Relaxed:
        """Return the bound and counts with whole counts and macro choices, by branch and bound.

        `slack` asks for lanes that are idle for that share of the copies; the bound is then no bound.
        """
        whole = np.zeros(len(self.rows.upper))
        whole[self.rows.integer] = 1
        matrix = self.matrix
        if slack:
            matrix = matrix.copy()
            matrix[self.rows.lanes, self.rows.time] = -1.0 / (1.0 + slack)
        limits = self._limits(allowed, options)
        return self._branch(self._goal, limits, whole, seconds, nodes, gap, matrix)

    def least_excess(self, seconds: float = 2.0) -> Floats | None:
        """Return counts of a placement that is over its caps by the fewest bytes."""
        goal, upper, whole = np.zeros(len(self.rows.upper)), np.array(self.rows.upper), np.zeros(len(self.rows.upper))
        span = slice(self.rows.excess, self.rows.excess + len(self.tables.caps))
        goal[span], upper[span] = 1.0, np.inf
        whole[self.rows.integer] = 1
        return self._branch(goal, upper, whole, seconds, 2000, 1e-9).counts

    def _branch(
        self, goal: Floats, upper: Floats, whole: Floats, seconds: float | None, nodes: int, gap: float,
        matrix: csr_matrix | None = None,
    ) -> Relaxed:  # fmt: skip
        options: Any = {"node_limit": nodes, "mip_rel_gap": gap}
        if seconds is not None:
            options["time_limit"] = max(0.01, seconds)
        found = milp(
            goal,
            integrality=whole.astype(np.int64),
            bounds=Bounds(np.zeros(len(upper)), upper),
            constraints=LinearConstraint(self.matrix if matrix is None else matrix, self.low, self.high),
            options=options,
        )
        if found.status == 2:
            return Relaxed(float("inf"), infeasible=True)
        dual = found.get("mip_dual_bound")
        bound = float(dual) if dual is not None and np.isfinite(dual) else 0.0
        counts = None if found.x is None else np.round(self._counts(found.x))
        return Relaxed(bound * self.rows.scale * (1 - SAFETY), counts, solved=found.status == 0)
