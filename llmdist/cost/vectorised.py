"""The timing and memory of many placements at once: the same as `reference`, in numpy.

`Batch` holds one set of placements and works out what is asked, cheapest first: bytes, then an additive lower
bound of the objective, then the event graph.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .event_graph import Chain, first_ends, periods

if TYPE_CHECKING:
    from ..planner.tables import Choices, CostTables, Floats, PassTables

__all__ = ["Batch", "evaluate_many", "floor_many", "over_bytes_many", "peak_many", "times_many"]

ALL = slice(None)
CHUNK = 512  # ants whose event graph fits into the caches


class Batch:
    """The placements `choices` [ant, block] of one problem."""

    def __init__(self, tables: CostTables, choices: Choices) -> None:
        self.tables, self.choices = tables, choices
        self.flat = choices + np.arange(choices.shape[1]) * tables.shape[1]
        self.totals = tables.additive.totals(choices)

    def some(self, rows: Choices) -> Batch:
        """Return the batch of some of the placements; what was summed is kept."""
        part = object.__new__(Batch)
        part.tables, part.choices, part.flat = self.tables, self.choices[rows], self.flat[rows]
        part.totals = self.totals.some(rows)
        for name in ("execute", "decode_floor", "prefill_floor"):
            if name in self.__dict__:
                setattr(part, name, self.__dict__[name][rows])
        return part

    @cached_property
    def peak(self) -> Floats:
        """Peak bytes [ant, device]."""
        tables, totals = self.tables, self.totals
        peak = totals.memory.copy()
        slots = np.minimum(tables.problem.slots, totals.slotted) * totals.largest
        peak[:, tables.executors] += slots + tables.problem.workspace_bytes * (totals.executing > 0.5)
        return peak

    @cached_property
    def over(self) -> Floats:
        """Bytes over the caps of devices and pinned memory; a quality budget's excess counts as bytes."""
        tables, budget = self.tables, self.tables.problem.quality_budget
        over = np.maximum(self.peak - tables.caps, 0.0).sum(1)
        over += np.maximum(self.totals.pinned - tables.pinned_caps, 0.0).sum(1)
        over = np.where(over < 0.5, 0.0, over)
        if budget is not None:
            excess = self.totals.penalty - budget
            over += np.where(excess > 1e-9 * max(1.0, budget), excess * tables.weight.max(1).sum(), 0.0)
        return np.asarray(over)

    @cached_property
    def execute(self) -> Choices:
        """Index of the exec device [ant, block]."""
        return self.tables.execute.take(self.flat)

    def transfers(self, kind: PassTables, part: slice = ALL) -> Floats:
        """Return the seconds before each block but the first [ant, block]; infinite where there is no path."""
        count, execute = len(self.tables.executors), self.execute[part]
        seconds = np.where(self.tables.forbidden, np.inf, kind.transfer)
        found = seconds.take(execute[:, :-1] * count + execute[:, 1:])
        return np.asarray(found)

    def _chain_seconds(self, kind: PassTables, compute: Floats) -> Floats:
        return compute + self.transfers(kind).sum(1) if len(self.tables.executors) > 1 else compute

    @cached_property
    def decode_floor(self) -> Floats:
        """Seconds of a decode pass that no schedule can beat: the chain, the busiest lane, disk or bus."""
        return self._floor(self.tables.decode, self.totals.decode, self.totals.decode_busy)

    @cached_property
    def prefill_floor(self) -> Floats:
        """The same for the pass over the prompt."""
        return self._floor(self.tables.prefill, self.totals.prefill, self.totals.prefill_busy)

    def _floor(self, kind: PassTables, compute: Floats, busy: Floats) -> Floats:
        shared = busy[:, : busy.shape[1] - len(self.tables.executors)]
        return np.asarray(np.maximum(self._chain_seconds(kind, compute), shared.max(1, initial=0.0)))

    @cached_property
    def busiest(self) -> Floats:
        """Seconds of a decode pass that the busiest stage, lane, disk or bus is in use."""
        busy = self.totals.decode_busy.copy()
        count = len(self.tables.executors)
        transfers = self.transfers(self.tables.decode) if count > 1 else np.zeros((len(busy), 0))
        for device in range(count):
            arriving = np.where(self.execute[:, 1:] == device, transfers, 0.0).sum(1) if count > 1 else 0.0
            busy[:, busy.shape[1] - count + device] += arriving
        return np.asarray(busy.max(1))

    @cached_property
    def floor(self) -> Floats:
        """Additive lower bound of the objective."""
        return self._objective(self.decode_floor, lambda: self.prefill_floor)

    @cached_property
    def objective(self) -> Floats:
        """Objective seconds."""
        return self._objective(self.decode_seconds, lambda: self.prefill_seconds)

    def _objective(self, decode: Floats, prefill: Callable[[], Floats]) -> Floats:
        problem = self.tables.problem
        if problem.objective == "throughput":
            return np.maximum(self.busiest, decode / problem.workload.in_flight) / problem.workload.accepted
        tpot = decode / problem.workload.accepted
        if problem.objective == "latency":
            return tpot
        return prefill() + max(0, problem.workload.new_tokens - 1) * tpot

    def _chains(self, kind: PassTables) -> list[tuple[Chain, slice]]:
        chains = []
        for start in range(0, len(self.choices), CHUNK):
            part = slice(start, start + CHUNK)
            flat = self.flat[part]
            compute = kind.compute.take(flat)
            seconds = compute.copy()
            if len(self.tables.executors) > 1:
                arrival = self.transfers(kind, part)
                seconds[:, 1:] += np.where(np.isinf(arrival), 0.0, arrival)
            streamed = self.tables.streamed.take(flat)
            chains.append((Chain(compute, seconds, kind.copy.take(flat), streamed, self.execute[part]), part))
        return chains

    @cached_property
    def decode_seconds(self) -> Floats:
        """Steady-state seconds per decode pass."""
        floor, slots = self.decode_floor, self.tables.problem.slots
        found = [np.zeros(0)]
        found += [periods(chain, slots, floor[part]) for chain, part in self._chains(self.tables.decode)]
        return np.maximum(floor, np.concatenate(found))

    @cached_property
    def prefill_seconds(self) -> Floats:
        """Seconds to the first token from a cold start."""
        found = [np.zeros(0)]
        chains = self._chains(self.tables.prefill)
        found += [first_ends(chain, self.tables.problem.slots) for chain, _ in chains]
        return np.maximum(self.prefill_floor, np.concatenate(found))


def peak_many(tables: CostTables, choices: Choices) -> Floats:
    """Return peak bytes [ant, device]."""
    return Batch(tables, choices).peak


def over_bytes_many(tables: CostTables, choices: Choices) -> Floats:
    """Return by how many bytes each ant is over its caps, summed over devices; 0 when it fits."""
    return Batch(tables, choices).over


def times_many(tables: CostTables, choices: Choices) -> tuple[Floats, Floats]:
    """Return (TPOT, TTFT) seconds per ant."""
    batch = Batch(tables, choices)
    return batch.decode_seconds / tables.problem.workload.accepted, batch.prefill_seconds


def floor_many(tables: CostTables, choices: Choices) -> Floats:
    """Return an additive lower bound of the objective per ant; much cheaper than the event graph."""
    return Batch(tables, choices).floor


def evaluate_many(tables: CostTables, choices: Choices) -> tuple[Floats, Floats]:
    """Return (objective seconds, bytes over the caps) per ant; `choices` are option indices [ant, block]."""
    batch = Batch(tables, choices)
    return batch.objective, batch.over
