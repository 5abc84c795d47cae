"""A lower bound of the objective: the relaxation solved by HiGHS, linear or with whole counts and macro choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .program import Program, Solution
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
        self._goal, self._columns = self.rows.goal(), np.array([m.column for m in self.rows.macros], np.int64)
        self._program = Program(self._goal, self.matrix, self.low, self.high)
        self._whole = np.zeros(len(self.rows.upper), np.bool_)
        self._whole[self.rows.integer] = True

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
        found = self._program.linear(self._limits(allowed, None))
        if found.infeasible:
            return Relaxed(float("inf"), infeasible=True)
        if found.values is None or found.duals is None:
            return Relaxed(0.0)
        reduced = np.maximum(self._counts(found.duals) * self.rows.scale, 0.0)
        bound = found.bound * self.rows.scale * (1 - SAFETY)
        return Relaxed(bound, self._counts(found.values), reduced, found.values[self._columns])

    def integer(
        self,
        seconds: float | None = None,
        allowed: NDArray[np.bool_] | None = None,
        options: NDArray[np.bool_] | None = None,
        nodes: int = 2000,
        gap: float = 1e-5,
    ) -> Relaxed:
        """Return the bound and counts with whole counts and macro choices, by branch and bound."""
        early = self.tables.problem.objective == "throughput"  # its programs take longest to give anything
        found = self._program.whole(self._limits(allowed, options), self._whole, seconds, nodes, gap, early)
        return self._relaxed(found)

    def least_excess(self, seconds: float = 2.0) -> Floats | None:
        """Return counts of a placement that is over its caps by the fewest bytes."""
        goal, upper = np.zeros(len(self.rows.upper)), np.array(self.rows.upper)
        span = slice(self.rows.excess, self.rows.excess + len(self.tables.caps))
        goal[span], upper[span] = 1.0, np.inf
        program = Program(goal, self.matrix, self.low, self.high)
        return self._relaxed(program.whole(upper, self._whole, seconds, 2000, 1e-9)).counts

    def _relaxed(self, found: Solution) -> Relaxed:
        if found.infeasible:
            return Relaxed(float("inf"), infeasible=True)
        counts = None if found.values is None else np.round(self._counts(found.values))
        return Relaxed(found.bound * self.rows.scale * (1 - SAFETY), counts, solved=found.solved)
