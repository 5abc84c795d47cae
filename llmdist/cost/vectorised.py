"""The timing and memory of many placements at once: the same recurrence as `reference`, in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .reference import MAXIMUM_TOKENS, TOLERANCE

if TYPE_CHECKING:
    from ..planner.tables import Choices, CostTables, Floats, PassTables

__all__ = ["evaluate_many", "floor_many", "over_bytes_many", "peak_many", "times_many"]


def peak_many(tables: CostTables, choices: Choices) -> Floats:
    """Return peak bytes [ant, device]."""
    blocks = np.arange(choices.shape[1])
    execute, home = tables.execute[blocks, choices], tables.home[blocks, choices]
    weight, slot = tables.weight[blocks, choices], tables.slot[blocks, choices]
    streamed = tables.streamed[blocks, choices]
    peak = np.zeros((len(choices), len(tables.caps)))
    for device in range(len(tables.caps)):
        peak[:, device] = (weight * (home == device)).sum(1)
    for e, device in enumerate(tables.executors):
        here = execute == e
        count = (streamed & here).sum(1)
        largest = np.max(slot * here, axis=1)
        peak[:, device] += here @ tables.kv + tables.problem.workspace_bytes * here.any(1)
        peak[:, device] += np.minimum(tables.problem.slots, count) * largest
    return peak


def over_bytes_many(tables: CostTables, choices: Choices) -> Floats:
    """Return by how many bytes each ant is over its caps, summed over devices."""
    over = np.maximum(peak_many(tables, choices) - tables.caps, 0.0).sum(1)
    return np.where(over < 0.5, 0.0, over)


class _Chain:
    """One kind of pass for many ants: the chain's own times and the additive lower bound."""

    def __init__(self, tables: CostTables, choices: Choices, kind: PassTables) -> None:
        blocks = np.arange(choices.shape[1])
        self.execute = tables.execute[blocks, choices]
        self.compute = kind.compute[blocks, choices]
        self.copy = kind.copy[blocks, choices]
        self.streamed = tables.streamed[blocks, choices]
        self.transfer = np.zeros_like(self.compute)
        self.transfer[:, 1:] = kind.transfer[self.execute[:, :-1], self.execute[:, 1:]]
        barred = tables.forbidden[self.execute[:, :-1], self.execute[:, 1:]].any(1)
        self.floor = (self.compute + self.transfer).sum(1)
        for e in range(len(tables.executors)):
            self.floor = np.maximum(self.floor, (self.copy * (self.execute == e)).sum(1))
        home, disk = tables.home[blocks, choices], kind.disk[blocks, choices]
        for device in tables.disks:
            self.floor = np.maximum(self.floor, (disk * (home == device)).sum(1))
        self.floor = np.where(barred, np.inf, self.floor)


def _references(
    streamed: NDArray[np.bool_], execute: NDArray[np.int64], slots: int, devices: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, per streamed block, the ones that free its lane and its slot (index < N: last token)."""
    ants, width = streamed.shape
    lane, slot = np.zeros((ants, width), np.int64), np.zeros((ants, width), np.int64)
    row = np.arange(ants)[:, None]
    for e in range(devices):
        here = streamed & (execute == e)
        count = here.sum(1)[:, None]
        order = np.argsort(~here, axis=1, kind="stable")
        rank = np.cumsum(here, axis=1) - 1
        for target, back in ((lane, np.ones_like(count)), (slot, np.minimum(slots, count))):
            source = rank - back
            wrapped = np.clip(np.where(source < 0, source + count, source), 0, width - 1)
            found = order[row, wrapped] + width * (source >= 0)
            target[here] = found[here]
    return lane, slot


def _simulate(tables: CostTables, chain: _Chain, tokens: int) -> Floats:
    """Return the end times [ant, token] of a run from a cold start (fewer once all have settled)."""
    ants = len(chain.floor)
    count = chain.streamed.sum(1)
    width = int(count.max(initial=0))
    ahead = np.cumsum(chain.compute + chain.transfer, axis=1)
    total = ahead[:, -1]
    if width == 0:
        return np.arange(1, tokens + 1) * total[:, None]
    order = np.argsort(~chain.streamed, axis=1, kind="stable")[:, :width]
    row = np.arange(ants)[:, None]
    active = chain.streamed[row, order]
    compute, copy = chain.compute[row, order], chain.copy[row, order]
    finish = ahead[row, order]
    lane, slot = _references(active, chain.execute[row, order], tables.problem.slots, len(tables.executors))
    before = np.concatenate([np.zeros((ants, 1)), np.where(active, finish, 0.0)[:, :-1]], axis=1)
    gap = np.where(active, finish - compute - before, 0.0)
    tail = total - finish[np.arange(ants), np.maximum(count - 1, 0)] * (count > 0)
    done, copied = np.zeros((ants, 2 * width)), np.zeros((ants, 2 * width))
    now, single = np.zeros(ants), np.arange(ants)
    ends: list[Floats] = []
    for token in range(tokens):
        for j in range(width):
            begin = np.maximum(copied[single, lane[:, j]], done[single, slot[:, j]])
            copied[:, width + j] = begin + copy[:, j]
            reached = np.maximum(now + gap[:, j], copied[:, width + j]) + compute[:, j]
            now = np.where(active[:, j], reached, now)
            done[:, width + j] = now
        now = now + tail
        ends.append(now)
        done[:, :width], copied[:, :width] = done[:, width:], copied[:, width:]
        if token > 2 and bool(_settled(np.stack(ends[-4:], axis=1), chain.floor).all()):
            break
    return np.stack(ends, axis=1)


def _settled(ends: Floats, floor: Floats) -> NDArray[np.bool_]:
    periods = np.diff(ends, axis=1)
    return np.asarray(periods.max(1) - periods.min(1) <= TOLERANCE * floor)


def times_many(tables: CostTables, choices: Choices) -> tuple[Floats, Floats]:
    """Return (TPOT, TTFT) seconds per ant."""
    chain = _Chain(tables, choices, tables.decode)
    ends = _simulate(tables, chain, MAXIMUM_TOKENS)
    period = np.full(len(choices), np.nan)
    for token in range(3, ends.shape[1]):
        settled = np.isnan(period) & _settled(ends[:, token - 3 : token + 1], chain.floor)
        period[settled] = (ends[:, token] - ends[:, token - 1])[settled]
    half = min(MAXIMUM_TOKENS // 2, ends.shape[1] - 1)
    period = np.where(np.isnan(period), (ends[:, -1] - ends[:, -1 - half]) / half, period)
    tpot = np.maximum(chain.floor, period)
    first = _Chain(tables, choices, tables.prefill)
    return tpot, np.maximum(_simulate(tables, first, 1)[:, 0], first.floor)


def _objective(tables: CostTables, tpot: Floats, ttft: Floats) -> Floats:
    if tables.problem.objective == "latency":
        return tpot
    return ttft + max(0, tables.problem.workload.new_tokens - 1) * tpot


def floor_many(tables: CostTables, choices: Choices) -> Floats:
    """Return an additive lower bound of the objective per ant; much cheaper than the event graph."""
    tpot: Floats = _Chain(tables, choices, tables.decode).floor
    if tables.problem.objective == "latency":
        return tpot
    return _objective(tables, tpot, _Chain(tables, choices, tables.prefill).floor)


def evaluate_many(tables: CostTables, choices: Choices) -> tuple[Floats, Floats]:
    """Return (objective seconds, bytes over the caps) per ant; `choices` are option indices [ant, block]."""
    tpot, ttft = times_many(tables, choices)
    return _objective(tables, tpot, ttft), over_bytes_many(tables, choices)
