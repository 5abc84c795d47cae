"""The relaxation of a planning problem as a matrix: counts of options per class of blocks, flows, macro choices.

A count n[class, option] stands for so many equal blocks. Activations are a flow between exec devices over the
boundaries of classes; every device in use is entered once, unless the chain begins there. One macro choice per
exec device says how many slots are held (0 .. S) and how large they are. The event graph is relaxed to its chain,
its busiest resource and the idle time of its lanes (`_stalls`), so every feasible placement is a point of this
polyhedron, never dearer than it costs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from .arrange import sites_of
from .tables import CostTables, Floats, PassTables

__all__ = ["Macro", "Rows", "build_rows"]

BYTES = 1e6  # memory rows are in megabytes, for the solver's tolerances


@dataclass(frozen=True, slots=True)
class Macro:
    """One macro choice of one exec device: `slots` staging slots of `size` bytes; its column."""

    device: int
    size: float
    slots: int
    column: int


class Rows:
    """Columns with upper bounds, and rows `low <= row . x <= high`, collected one by one."""

    def __init__(self, tables: CostTables) -> None:
        self.tables = tables
        self.first_of = np.array([int(np.flatnonzero(tables.classes == c)[0]) for c in range(tables.classes.max() + 1)])
        self.members = np.bincount(tables.classes)
        self.width = tables.shape[1]
        self.valid = tables.valid[self.first_of]
        self.upper: list[float] = (self.valid * self.members[:, None]).astype(float).ravel().tolist()
        self.rows: list[dict[int, float]] = []
        self.low: list[float] = []
        self.high: list[float] = []
        self.cells = [(c, k) for c in range(len(self.members)) for k in range(self.width) if self.valid[c, k]]
        self.execute = tables.execute[self.first_of]
        self.integer = list(range(len(self.upper)))
        self.macros: list[Macro] = []
        self.time = self.first = self.excess = 0
        self.scale = 1.0

    def columns(self, count: int, upper: float, integer: bool = False) -> int:
        """Add columns and return the first one's index."""
        start = len(self.upper)
        self.upper += [upper] * count
        if integer:
            self.integer += range(start, start + count)
        return start

    def row(self, entries: dict[int, float], low: float, high: float) -> None:
        """Add one row."""
        self.rows.append(entries)
        self.low.append(low)
        self.high.append(high)

    def count(self, row: int, option: int) -> int:
        """Return the column of n[class, option]."""
        return row * self.width + option

    def on(self, row: int, device: int) -> dict[int, float]:
        """Return the entries that count the blocks of a class on an exec device."""
        return {self.count(c, k): 1.0 for c, k in self.cells if c == row and self.execute[c, k] == device}

    def additive(self, column: int, factor: float) -> dict[int, float]:
        """Return one column of the additive matrix as entries, times `factor`."""
        values = self.tables.additive.matrix[:, column] * factor
        return {self.count(c, k): values[self.count(c, k)] for c, k in self.cells if values[self.count(c, k)]}

    def matrix(self) -> csr_matrix:
        """Return the rows as a sparse matrix."""
        lengths = [len(row) for row in self.rows]
        columns = np.array([column for row in self.rows for column in row])
        values = np.array([value for row in self.rows for value in row.values()])
        shape = (len(self.rows), len(self.upper))
        return csr_matrix((values, (np.repeat(np.arange(len(self.rows)), lengths), columns)), shape)

    def goal(self) -> Floats:
        """Return the objective's coefficients, in units of `scale` seconds."""
        problem = self.tables.problem
        goal = np.zeros(len(self.upper))
        goal[self.time] = 1.0 / problem.workload.accepted
        if problem.objective == "finish":
            goal[self.time] *= max(0, problem.workload.new_tokens - 1)
            goal[self.first] = 1.0
        return goal


Flow = list[tuple[int, int, int]]  # (column, source, target)


def build_rows(tables: CostTables) -> Rows:
    """Return the relaxation of one problem."""
    rows = Rows(tables)
    compute = np.where(tables.valid, tables.decode.compute, np.inf).min(1).sum()
    rows.scale = max(float(compute), 1e-12)
    rows.time = rows.columns(1, np.inf)
    rows.first = rows.columns(1, np.inf)
    rows.excess = rows.columns(len(tables.caps), 0.0)
    for c, members in enumerate(rows.members):
        rows.row({rows.count(c, k): 1.0 for k in range(rows.width) if rows.valid[c, k]}, float(members), float(members))
    used = _used(rows)
    flow = _flows(rows, used)
    _seconds(rows, flow)
    _memory(rows, used)
    return rows


def _used(rows: Rows) -> list[int]:
    """Add one column per exec device: whether anything executes there."""
    count = len(rows.tables.executors)
    used = [rows.columns(1, 1.0, integer=True) for _ in range(count)]
    for device, column in enumerate(used):
        for c, members in enumerate(rows.members):
            if here := rows.on(c, device):
                rows.row({**here, column: -float(members)}, -np.inf, 0.0)
    return used


def _flows(rows: Rows, used: list[int]) -> Flow:
    """Add the flow of activations over the boundaries between classes."""
    tables, count = rows.tables, len(rows.tables.executors)
    flow: Flow = []
    if count < 2:
        return flow
    classes = tables.classes
    leaving: dict[tuple[int, int], dict[int, float]] = {}
    arriving: dict[tuple[int, int], dict[int, float]] = {}
    for (a, b), many in Counter(zip(classes[:-1].tolist(), classes[1:].tolist(), strict=True)).items():
        start = rows.columns(count * count, float(many))
        rows.row({start + i: 1.0 for i in range(count * count)}, float(many), float(many))
        for s in range(count):
            for t in range(count):
                column = start + s * count + t
                flow.append((column, s, t))
                leaving.setdefault((a, s), {})[column] = -1.0
                arriving.setdefault((b, t), {})[column] = -1.0
                if tables.forbidden[s, t]:
                    rows.upper[column] = 0.0
    for ends, edge in ((leaving, -1), (arriving, 0)):
        for (c, device), entries in ends.items():
            exact = classes[edge] != c  # the chain's last block has no successor, the first no predecessor
            rows.row({**rows.on(c, device), **entries}, 0.0, 0.0 if exact else 1.0)
    begins = [rows.on(int(classes[0]), device) for device in range(count)]
    for device in range(count):
        entering = {column: 1.0 for column, s, t in flow if t == device and s != device}
        if rows.members[classes[0]] == 1:
            rows.row({**entering, **begins[device], used[device]: -1.0}, 0.0, np.inf)
    if rows.members[classes[0]] > 1:
        crossing = {column: 1.0 for column, s, t in flow if s != t}
        rows.row({**crossing, **dict.fromkeys(used, -1.0)}, -1.0, np.inf)
    return flow


def _seconds(rows: Rows, flow: Flow) -> None:
    """Add what the time is at least: the chain, and each shared resource."""
    tables, problem = rows.tables, rows.tables.problem
    start = np.concatenate([[0], np.cumsum(tables.additive.widths)])
    factor = 1.0 / rows.scale
    passes = [(rows.time, 5, tables.decode)]
    if problem.objective == "finish":
        passes.append((rows.first, 6, tables.prefill))
    stages = len(tables.resources) - len(tables.executors)
    for target, field, kind in passes:
        chain = rows.additive(int(start[field]), factor)
        chain |= {column: kind.transfer[s, t] * factor for column, s, t in flow if s != t}
        if len(set(sites_of(tables))) > 1 and problem.objective != "throughput":  # elsewhere it hardly binds
            chain |= dict.fromkeys(_stalls(rows, flow, kind, factor), 1.0)
        shared = problem.workload.in_flight if problem.objective == "throughput" else 1
        rows.row({**chain, target: -float(shared)}, -np.inf, 0.0)
        for resource in range(len(tables.resources) if problem.objective == "throughput" else stages):
            busy = rows.additive(int(start[field + 2]) + resource, factor)
            if resource >= stages:
                e = resource - stages
                busy |= {column: kind.transfer[s, t] * factor for column, s, t in flow if t == e and s != t}
            if busy:
                rows.row({**busy, target: -1.0}, -np.inf, 0.0)


def _stalls(rows: Rows, flow: Flow, kind: PassTables, factor: float) -> list[int]:
    """Add one column per exec device: how long it waits for copies, at least, and return the columns.

    While the chain is elsewhere no block of the device is computed, so no slot becomes free: at most S copies touch
    each such gap. The other copies overlap with the device's own computing, or the device waits for them.
    """
    tables, waits = rows.tables, []
    for e in range(len(tables.executors)):
        here = [(c, k) for c, k in rows.cells if rows.execute[c, k] == e]
        copies = {(c, k): kind.copy[rows.first_of[c], k] * factor for c, k in here}
        copies = {cell: seconds for cell, seconds in copies.items() if seconds > 0}
        if not copies:
            continue
        hidden = rows.columns(len(copies), 0.0)
        balance = {rows.count(c, k): -kind.compute[rows.first_of[c], k] * factor for c, k in here}
        for column, ((c, k), seconds) in enumerate(copies.items(), hidden):
            rows.upper[column] = float(rows.members[c])
            rows.row({column: 1.0, rows.count(c, k): -1.0}, -np.inf, 0.0)
            balance[rows.count(c, k)] += seconds
            balance[column] = -seconds
        slots = -float(tables.problem.slots)
        gaps = {column: slots for column, s, t in flow if t == e and s != t}
        first = rows.on(int(tables.classes[0]), e) if rows.members[tables.classes[0]] == 1 else {}
        gaps |= dict.fromkeys(first, slots)
        most = 0.0 if first or rows.members[tables.classes[0]] == 1 else -slots
        rows.row({**dict.fromkeys(range(hidden, hidden + len(copies)), 1.0), **gaps}, -np.inf, most)
        waits.append(rows.columns(1, np.inf))
        rows.row({**balance, waits[-1]: -1.0}, -np.inf, 0.0)
    return waits


def _memory(rows: Rows, used: list[int]) -> None:
    """Add the caps: memory with slots and workspace, pinned memory, the quality budget."""
    tables, problem = rows.tables, rows.tables.problem
    start = np.concatenate([[0], np.cumsum(tables.additive.widths)])
    use = [rows.additive(int(start[0]) + m, 1 / BYTES) for m in range(len(tables.caps))]
    for e, m in enumerate(tables.executors):
        use[m][used[e]] = problem.workspace_bytes / BYTES
        _slots(rows, e, use[m])
    for m, entries in enumerate(use):
        entries[rows.excess + m] = -1.0
        if np.isfinite(tables.caps[m]):
            rows.row(entries, -np.inf, (tables.caps[m] + 0.5) / BYTES)
        if np.isfinite(tables.pinned_caps[m]):
            rows.row(rows.additive(int(start[1]) + m, 1 / BYTES), -np.inf, (tables.pinned_caps[m] + 0.5) / BYTES)
    if problem.quality_budget is not None:
        slack = 1e-9 * max(1.0, problem.quality_budget)
        rows.row(rows.additive(int(start[2]), 1.0), -np.inf, problem.quality_budget + slack)


def _slots(rows: Rows, device: int, use: dict[int, float]) -> None:
    """Add the device's macro choice: no staging, or n slots of one of the sizes that occur."""
    tables, slots = rows.tables, rows.tables.problem.slots
    size_of = tables.additive.slot[device]
    cells = [(c, k) for c, k in rows.cells if rows.execute[c, k] == device and tables.staged[rows.first_of[c], k]]
    if not cells:
        return
    sizes = sorted({float(size_of[rows.count(c, k)]) for c, k in cells})
    shapes = [(0.0, 0), *((size, n) for size in sizes for n in range(1, slots + 1))]
    start = rows.columns(len(shapes), 1.0, integer=True)
    rows.macros += [Macro(device, size, n, start + i) for i, (size, n) in enumerate(shapes)]
    rows.row({start + i: 1.0 for i in range(len(shapes))}, 1.0, 1.0)
    staged = {rows.count(c, k): 1.0 for c, k in cells}
    blocks = float(tables.shape[0])
    rows.row({**staged, **{start + i: -float(n) for i, (_, n) in enumerate(shapes) if n}}, 0.0, np.inf)
    most = {start + i: -(float(n) if n < slots else blocks) for i, (_, n) in enumerate(shapes) if n}
    rows.row({**staged, **most}, -np.inf, 0.0)
    for c, k in cells:
        size = float(size_of[rows.count(c, k)])
        large = {start + i: -float(rows.members[c]) for i, (s, n) in enumerate(shapes) if n and s >= size}
        rows.row({rows.count(c, k): 1.0, **large}, -np.inf, 0.0)
    for i, (size, n) in enumerate(shapes):
        if n and size:
            use[start + i] = use.get(start + i, 0.0) + n * size / BYTES
