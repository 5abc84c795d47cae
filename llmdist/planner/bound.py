"""A lower bound of the objective: a linear (or mixed-integer) relaxation solved by HiGHS.

The event graph is relaxed to its chain, lanes and disks. Memory is exact in the integer program: per
exec device one macro choice says how many slots are held (0 .. S) and how large they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_matrix, vstack

from .tables import Choices, CostTables, Floats, PassTables

__all__ = ["Relaxation", "Relaxed"]

SAFETY = 1e-5


@dataclass(frozen=True, slots=True)
class Relaxed:
    """What one solve gave: a valid bound in seconds, a rounded choice, reduced costs in seconds."""

    bound: float
    choice: Choices | None
    reduced: Floats | None
    infeasible: bool = False


class Relaxation:
    """The relaxation of one problem; rows are collected once, then solved in several ways."""

    def __init__(self, tables: CostTables) -> None:
        self.tables = tables
        self.scale = max(float(np.where(tables.valid, tables.decode.compute, np.inf).min(1).sum()), 1e-12)
        self.size = max(float(tables.weight.max()), 1.0) / 100.0
        self.rows: list[dict[int, float]] = []
        self.low: list[float] = []
        self.high: list[float] = []
        blocks, width = tables.shape
        self.columns = blocks * width
        self.upper: list[float] = list(tables.valid.astype(float).ravel())
        self.time = self._add_columns(1, np.inf)
        self.first = self._add_columns(1, np.inf)
        self.excess = self._add_columns(len(tables.caps), 0.0)
        self.integer_macro: list[int] = []
        self._choose_one()
        transfers = self._transfer_columns()
        self._seconds(self.time, tables.decode, transfers)
        if tables.problem.objective == "finish":
            self._seconds(self.first, tables.prefill, transfers)
        self._memory()

    def _add_columns(self, count: int, upper: float) -> int:
        start = max(self.columns, len(self.upper))
        self.upper += [upper] * count
        self.columns = start + count
        return start

    def _row(self, entries: dict[int, float], low: float, high: float) -> None:
        self.rows.append(entries)
        self.low.append(low)
        self.high.append(high)

    def _x(self, block: int, option: int) -> int:
        return block * self.tables.shape[1] + option

    def _options(self, block: int) -> range:
        return range(len(self.tables.options[block]))

    def _choose_one(self) -> None:
        for b in range(self.tables.shape[0]):
            self._row({self._x(b, k): 1.0 for k in self._options(b)}, 1.0, 1.0)

    def _on(self, block: int, device: int) -> dict[int, float]:
        execute = self.tables.execute
        return {self._x(block, k): 1.0 for k in self._options(block) if execute[block, k] == device}

    def _transfer_columns(self) -> list[tuple[int, int, int]]:
        """Add the flow of activations over each boundary; return (column, source, target)."""
        tables, count = self.tables, len(self.tables.executors)
        columns: list[tuple[int, int, int]] = []
        for b in range(tables.shape[0] - 1 if count > 1 else 0):
            start = self._add_columns(count * count, 1.0)
            for s in range(count):
                for t in range(count):
                    columns.append((start + s * count + t, s, t))
                    if tables.forbidden[s, t]:
                        self.upper[start + s * count + t] = 0.0
            for e in range(count):
                leaving = {start + e * count + t: -1.0 for t in range(count)}
                arriving = {start + s * count + e: -1.0 for s in range(count)}
                self._row({**self._on(b, e), **leaving}, 0.0, 0.0)
                self._row({**self._on(b + 1, e), **arriving}, 0.0, 0.0)
        return columns

    def _seconds(self, target: int, kind: PassTables, transfers: list[tuple[int, int, int]]) -> None:
        tables = self.tables
        cells = [(b, k) for b in range(tables.shape[0]) for k in self._options(b)]
        groups = [{self._x(b, k): kind.compute[b, k] for b, k in cells}]
        groups[0] |= {column: kind.transfer[s, t] for column, s, t in transfers}
        for e in range(len(tables.executors)):
            groups.append({self._x(b, k): kind.copy[b, k] for b, k in cells if tables.execute[b, k] == e})
        for disk in tables.disks:
            groups.append({self._x(b, k): kind.disk[b, k] for b, k in cells if tables.home[b, k] == disk})
        for group in groups:
            scaled = {column: value / self.scale for column, value in group.items() if value}
            if scaled:
                self._row({**scaled, target: -1.0}, -np.inf, 0.0)

    def _memory(self) -> None:
        tables = self.tables
        blocks = range(tables.shape[0])
        use: list[dict[int, float]] = [{self.excess + m: -1.0} for m in range(len(tables.caps))]
        for b in blocks:
            for k in self._options(b):
                x = self._x(b, k)
                device = tables.executors[tables.execute[b, k]]
                for m, amount in ((tables.home[b, k], tables.weight[b, k]), (device, tables.kv[b])):
                    use[m][x] = use[m].get(x, 0.0) + amount / self.size
        for e, m in enumerate(tables.executors):
            self._slots(e, use[m])
            if tables.problem.workspace_bytes:
                column = self._add_columns(1, 1.0)
                use[m][column] = tables.problem.workspace_bytes / self.size
                for b in blocks:
                    if here := self._on(b, e):
                        self._row({**here, column: -1.0}, -np.inf, 0.0)
        for m, entries in enumerate(use):
            if np.isfinite(tables.caps[m]):
                self._row(entries, -np.inf, tables.caps[m] / self.size)

    def _slots(self, device: int, use: dict[int, float]) -> None:
        """Add the device's macro choice: no streaming, or n slots of one of the sizes that occur."""
        tables, slots = self.tables, self.tables.problem.slots
        cells = [(b, k) for b in range(tables.shape[0]) for k in self._options(b)]
        cells = [(b, k) for b, k in cells if tables.streamed[b, k] and tables.execute[b, k] == device]
        if not cells:
            return
        sizes = sorted({float(tables.slot[b, k]) for b, k in cells})
        macro = [(0.0, 0)] + [(size, n) for size in sizes for n in range(1, slots + 1)]
        start = self._add_columns(len(macro), 1.0)
        self.integer_macro += range(start, start + len(macro))
        self._row({start + i: 1.0 for i in range(len(macro))}, 1.0, 1.0)
        least = {start + i: -float(n) for i, (_, n) in enumerate(macro) if n}
        most = {start + i: -float(n if n < slots else tables.shape[0]) for i, (_, n) in enumerate(macro) if n}
        streams = {self._x(b, k): 1.0 for b, k in cells}
        self._row({**streams, **least}, 0.0, np.inf)
        self._row({**streams, **most}, -np.inf, 0.0)
        for b, k in cells:
            large = {start + i: -1.0 for i, (s, n) in enumerate(macro) if n and s >= tables.slot[b, k]}
            self._row({self._x(b, k): 1.0, **large}, -np.inf, 0.0)
        for i, (size, n) in enumerate(macro):
            if n and size:
                use[start + i] = use.get(start + i, 0.0) + n * size / self.size

    def _matrix(self) -> csr_matrix:
        lengths = [len(row) for row in self.rows]
        columns = np.array([column for row in self.rows for column in row])
        values = np.array([value for row in self.rows for value in row.values()])
        shape = (len(self.rows), len(self.upper))
        return csr_matrix((values, (np.repeat(np.arange(len(self.rows)), lengths), columns)), shape)

    def _goal(self) -> Floats:
        goal = np.zeros(len(self.upper))
        goal[self.time] = 1.0
        if self.tables.problem.objective == "finish":
            goal[self.time] = max(0, self.tables.problem.workload.new_tokens - 1)
            goal[self.first] = 1.0
        return goal

    def _choice(self, solution: Floats) -> Choices:
        blocks, width = self.tables.shape
        shares = solution[: blocks * width].reshape(blocks, width)
        return np.asarray(np.where(self.tables.valid, shares, -1.0).argmax(1), dtype=np.int64)

    def linear(self) -> Relaxed:
        """Return the linear relaxation's bound, its rounded choice and reduced costs."""
        matrix, low, high = self._matrix(), np.array(self.low), np.array(self.high)
        equal = low == high
        above, below = np.isfinite(high) & ~equal, np.isfinite(low) & ~equal
        found: Any = linprog(  # type: ignore[call-overload]
            self._goal(),
            A_ub=vstack([matrix[above], -matrix[below]]),
            b_ub=np.concatenate([high[above], -low[below]]),
            A_eq=matrix[equal],
            b_eq=high[equal],
            bounds=np.stack([np.zeros(len(self.upper)), np.array(self.upper)], axis=1),
            method="highs",
        )
        if found.status == 2:
            return Relaxed(float("inf"), None, None, infeasible=True)
        if found.status != 0:
            return Relaxed(0.0, None, None)
        blocks, width = self.tables.shape
        reduced = found.lower.marginals[: blocks * width].reshape(blocks, width) * self.scale
        return Relaxed(found.fun * self.scale * (1 - SAFETY), self._choice(found.x), np.maximum(reduced, 0.0))

    def integer(self, seconds: float | None, macro_only: bool = False, nodes: int = 200) -> Relaxed:
        """Return the bound with whole macro choices, and whole blocks too unless `macro_only`."""
        whole = np.zeros(len(self.upper))
        whole[self.integer_macro] = 1
        if not macro_only:
            whole[: self.tables.shape[0] * self.tables.shape[1]] = 1
        return self._branch(self._goal(), np.array(self.upper), whole, seconds, nodes)

    def least_excess(self, seconds: float = 2.0) -> Choices | None:
        """Return the placement that is over its caps by the fewest bytes."""
        goal, upper, whole = np.zeros(len(self.upper)), np.array(self.upper), np.zeros(len(self.upper))
        span = slice(self.excess, self.excess + len(self.tables.caps))
        goal[span], upper[span] = 1.0, np.inf
        whole[self.integer_macro] = 1
        whole[: self.tables.shape[0] * self.tables.shape[1]] = 1
        return self._branch(goal, upper, whole, seconds, 2000).choice

    def _branch(self, goal: Floats, upper: Floats, whole: Floats, seconds: float | None, nodes: int) -> Relaxed:
        options: Any = {"node_limit": nodes, "mip_rel_gap": 5e-5}
        if seconds is not None:
            options["time_limit"] = max(0.01, seconds)
        found = milp(
            goal,
            integrality=whole.astype(np.int64),
            bounds=Bounds(np.zeros(len(upper)), upper),
            constraints=LinearConstraint(self._matrix(), np.array(self.low), np.array(self.high)),
            options=options,
        )
        if found.status == 2:
            return Relaxed(float("inf"), None, None, infeasible=True)
        dual = found.get("mip_dual_bound")
        bound = float(dual) if dual is not None and np.isfinite(dual) else 0.0
        choice = None if found.x is None else self._choice(found.x)
        return Relaxed(bound * self.scale * (1 - SAFETY), choice, None)
