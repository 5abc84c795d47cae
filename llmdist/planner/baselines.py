"""Simple planners: accelerate's greedy rule, dynamic programming with memory prices, random."""

from __future__ import annotations

import numpy as np

from ..cost.vectorised import evaluate_many, over_bytes_many, peak_many
from .tables import Choices, CostTables, Floats

__all__ = ["dynamic_programming", "greedy", "random_choices", "random_search"]


def _ranked(tables: CostTables, block: int) -> list[int]:
    """Return the block's options: resident on the fastest device first, then streamed to the fastest."""
    devices = tables.problem.devices
    speed = {device.name: device.bandwidth for device in devices}

    def key(option: int) -> tuple[bool, float, float, int]:
        assignment = tables.options[block][option]
        resident = assignment.mode == "resident"
        home = devices[tables.home[block, option]]
        fast = speed[assignment.exec_device]
        return (not resident if home.kind != "disk" else True, -fast, float(home.kind == "disk"), option)

    return sorted(range(len(tables.options[block])), key=key)


def _fill(tables: CostTables, reserve: Floats) -> Choices:
    """Fill devices in rank order, keeping `reserve` bytes free per device."""
    used = np.zeros(len(tables.caps))
    for device in tables.executors:
        used[device] += tables.problem.workspace_bytes
    choice = np.zeros(tables.shape[0], np.int64)
    first = np.unique(tables.classes, return_index=True)[1]
    ranks = [_ranked(tables, int(block)) for block in first]
    for block in range(tables.shape[0]):
        ranked = ranks[tables.classes[block]]
        choice[block] = ranked[-1]
        for option in ranked:
            need = np.zeros(len(tables.caps))
            need[tables.home[block, option]] += tables.weight[block, option]
            need[tables.executors[tables.execute[block, option]]] += tables.kv[block]
            if (used + need <= tables.caps - reserve + 1e-9)[need > 0].all():
                choice[block] = option
                break
        used[tables.home[block, choice[block]]] += tables.weight[block, choice[block]]
        used[tables.executors[tables.execute[block, choice[block]]]] += tables.kv[block]
    return choice


def greedy(tables: CostTables) -> Choices:
    """Return accelerate's rule: fastest device first, then memory, then streamed; slots held back."""
    largest = tables.slot.max() * tables.problem.slots
    reserves = [np.zeros(len(tables.caps))]
    for device in tables.executors:
        reserve = np.zeros(len(tables.caps))
        reserve[device] = largest
        reserves.append(reserve)
    every: Floats = np.sum(reserves, axis=0)
    reserves = [*reserves, every] if len(reserves) < 5 else [reserves[0], every]
    choices = np.array([_fill(tables, reserve) for reserve in reserves])
    over = over_bytes_many(tables, choices)
    fitting = np.flatnonzero(over == 0)
    return np.asarray(choices[fitting[0] if len(fitting) else int(over.argmin())])


def _cheapest_chain(tables: CostTables, cost: Floats) -> Choices:
    """Return the chain of options with the least sum of cost and activation transfers."""
    (blocks, _), lanes = tables.shape, len(tables.executors)
    barred = np.where(tables.forbidden, 1e18, tables.decode.transfer)
    on = np.where(tables.execute[:, None, :] == np.arange(lanes)[None, :, None], cost[:, None, :], np.inf)
    option, least = on.argmin(2), on.min(2)  # [block, exec]: within a device only the cheapest option counts
    value = least[0]
    back = np.zeros((blocks, lanes), np.int64)
    for b in range(1, blocks):
        step = value[:, None] + barred
        back[b] = step.argmin(0)
        value = step.min(0) + least[b]
    device = int(value.argmin())
    choice = np.zeros(blocks, np.int64)
    for b in range(blocks - 1, -1, -1):
        choice[b] = option[b, device]
        device = int(back[b, device])
    return choice


def dynamic_programming(tables: CostTables, rounds: int = 24) -> Choices:
    """Return the best chain by dynamic programming, memory priced per device until it fits."""
    seconds = tables.decode.compute + tables.decode.copy
    cost = np.where(tables.valid, seconds, 1e18)
    scale = float(seconds.sum() / max(1.0, tables.weight.sum()))
    price = np.zeros(len(tables.caps))
    found = []
    for turn in range(rounds):
        held = np.where(
            tables.streamed,
            tables.slot * 0.1 * price[tables.executors[tables.execute]],
            tables.kv[:, None] * price[tables.executors[tables.execute]],
        )
        choice = _cheapest_chain(tables, cost + tables.weight * price[tables.home] + held)
        found.append(choice)
        excess = peak_many(tables, choice[None])[0] - tables.caps
        limit = np.where(np.isfinite(tables.caps), np.maximum(tables.caps, 1.0), 1.0)
        move = np.where(np.isfinite(excess), np.clip(excess / limit, -0.5, 1.0), 0.0)
        price = np.maximum(0.0, price + scale * 2.0 * move / np.sqrt(1 + turn))
    choices = np.unique(np.array(found), axis=0)
    objective, over = evaluate_many(tables, choices)
    return np.asarray(choices[np.lexsort((objective, over))[0]])


def random_choices(tables: CostTables, count: int, generator: np.random.Generator) -> Choices:
    """Return `count` uniformly random rows of options."""
    width = tables.valid.sum(1)
    return np.asarray(np.floor(generator.random((count, tables.shape[0])) * width), dtype=np.int64)


def random_search(tables: CostTables, count: int, seed: int = 0) -> Choices:
    """Return the best of `count` random rows."""
    choices = random_choices(tables, count, np.random.default_rng(seed))
    objective, over = evaluate_many(tables, choices)
    return np.asarray(choices[np.lexsort((objective, over))[0]])
