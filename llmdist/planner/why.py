"""Why a plan is as it is, in one sentence: what the best change of a block would cost, and what limits the speed.

Every number is the cost model's, from the same tables as the search. A block's change is tried alone and together
with one other block that gives way to it (a swap); more than two blocks at once are the search's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..cost.vectorised import evaluate_many, floor_many, over_bytes_many, peak_many
from ..units import format_bytes, format_seconds
from .placement import EIGHTHS, Assignment
from .problem import PlanningProblem
from .result import PlanResult
from .tables import Choices, CostTables
from .what_if import Pricing, pricing_of

__all__ = ["Change", "best_change", "why"]

_EVALUATED = 96  # swaps that pass the additive bound first and are then priced in full
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Change:
    """The best that one block can change: `moves` of it (and of the block that swaps with it).

    `seconds` is the change of the objective, positive when the plan gets slower.
    """

    moves: dict[str, Assignment]
    seconds: float


def _candidates(pricing: Pricing, choice: Choices, block: int) -> Iterator[tuple[int, int, int]]:
    """Yield (option of the block, other block or -1, its option): alone, and swapped with each other block."""
    index, options = pricing.index, pricing.tables.options
    current = options[block][int(choice[block])]
    for option in range(len(options[block])):
        if option == choice[block]:
            continue
        yield option, -1, -1
        wanted = options[block][option]
        for other in range(len(choice)):
            back = index[other].get(current)
            held = options[other][int(choice[other])]
            shares = wanted.home_device in (held.home_device, held.exec_device)
            if other != block and back is not None and back != choice[other] and shares:
                yield option, other, back


def best_change(plan: PlanResult, block: str) -> Change | None:
    """Return the fitting change of `block`, alone or as a swap, that costs least; None when there is none.

    A change without any effect (two equal layers swapped) is left out where another has one.
    """
    pricing = pricing_of(plan.problem)
    choice = pricing.choice(plan.placement)
    position = plan.placement.blocks.index(block)
    if choice is None or len(pricing.tables.options[position]) < 2:
        return None
    tried = list(_candidates(pricing, choice, position))
    around = np.repeat(choice[None], len(tried), axis=0)
    rows = np.arange(len(tried))
    options, others, backs = (np.array(column) for column in zip(*tried, strict=True))
    around[rows, position] = options
    swaps = others >= 0
    around[rows[swaps], others[swaps]] = backs[swaps]
    before = float(evaluate_many(pricing.tables, choice[None])[0][0])
    found = _cheapest(pricing.tables, around, before)
    if found is None:
        return None
    row, seconds = found
    changed = pricing.tables.placement(around[row])
    moved = {name: new for name, new in changed.items() if new != plan.placement[name]}
    return Change(moved, seconds - before)


def _cheapest(tables: CostTables, around: Choices, before: float) -> tuple[int, float] | None:
    """Return (row, objective seconds) of the best placement that fits; one without any effect only if all are so."""
    fitting = np.flatnonzero(over_bytes_many(tables, around) == 0)
    if not len(fitting):
        return None
    floor = floor_many(tables, around[fitting])
    promising = fitting[np.argsort(floor, kind="stable")[:_EVALUATED]]
    values, _ = evaluate_many(tables, around[promising])
    neutral = np.abs(values - before) <= _SAME * before
    best = int(np.argmin(np.where(neutral & ~neutral.all(), np.inf, values)))
    return int(promising[best]), float(values[best])


def _wish(pricing: Pricing, choice: Choices, block: int) -> tuple[Assignment, Choices]:
    """Return the option that would be best for the block if memory had no caps, and the placement with it."""
    count = len(pricing.tables.options[block])
    around = np.repeat(choice[None], count, axis=0)
    around[:, block] = np.arange(count)
    values, _ = evaluate_many(pricing.tables, around)
    current = int(choice[block])
    best = int(np.argmin(values))
    if values[best] >= values[current] * (1 - _SAME):
        best = current
    return pricing.tables.options[block][best], around[best]


def why(plan: PlanResult, block: str) -> str:
    """Return in one sentence why `block` is where it is.

    Raises
    ------
    PlanError : no block has that name.
    """
    held = plan.placement[block]
    pricing = pricing_of(plan.problem)
    choice = pricing.choice(plan.placement)
    start = f"{block} {_state(plan.problem, held)}"
    if plan.simulated:
        start = f"On the simulated machine {start}"
    if block in plan.problem.locks:
        return f"{start} because it is locked there: unlock it to let the search decide."
    if choice is None:
        return f"{start} by hand, a choice that the search may not make under this problem's precisions."
    position = plan.placement.blocks.index(block)
    wish, around = _wish(pricing, choice, position)
    change = best_change(plan, block)
    if wish == held:
        reason = "no other place alone is faster" if held.mode == "resident" else "being resident would not be faster"
        return f"{start}, and {reason}; {_in_words(plan, block, change)}."
    return f"{start}: {_room(plan, pricing, choice, around, wish)}; {_in_words(plan, block, change)}."


def _state(problem: PlanningProblem, held: Assignment) -> str:
    if held.mode == "resident":
        return f"rests in {held.exec_device} and is computed there"
    if held.cpu_eighths:
        return f"is split ({_shares(problem, held)})"
    return f"is {'read' if held.on_demand else held.mode} {_path(held)}"


def _path(choice: Assignment) -> str:
    return f"{'on demand ' if choice.on_demand else ''}from {choice.home_device} to {choice.exec_device}"


def _shares(problem: PlanningProblem, choice: Assignment) -> str:
    """Return who computes how much of a split block, and whether the GPU's part is copied for it."""
    host = problem.host(choice.exec_device)
    own = f"{choice.exec_device} computes {EIGHTHS - choice.cpu_eighths}/{EIGHTHS}"
    copied = f" (copied from {choice.home_device})" if choice.copies else ""
    return f"{own}{copied}, {host.name if host else 'the CPU'} {choice.cpu_eighths}/{EIGHTHS}"


def _room(plan: PlanResult, pricing: Pricing, choice: Choices, around: Choices, wish: Assignment) -> str:
    """Say what the wished option needs of the memory that has too little, and what is free there."""
    before, after = peak_many(pricing.tables, np.stack([choice, around]))
    lacking = [
        f"it would need {format_bytes(after[m] - before[m])} more in {device.name} and "
        f"{format_bytes(max(0.0, cap - before[m]))} are free"
        for m, (device, cap) in enumerate(zip(plan.problem.devices, pricing.tables.caps, strict=True))
        if after[m] > cap
    ]
    place = _choice_words(plan.problem, wish)
    return f"{place} it fits" if not lacking else f"{place} {' and '.join(lacking)}"


def _choice_words(problem: PlanningProblem, choice: Assignment) -> str:
    if choice.cpu_eighths:
        return f"split ({_shares(problem, choice)}, {choice.precision})"
    if choice.mode == "resident":
        return f"resident in {choice.exec_device} ({choice.precision})"
    return f"{'read' if choice.on_demand else 'streamed'} {_path(choice)} ({choice.precision})"


def _in_words(plan: PlanResult, block: str, change: Change | None) -> str:
    """Say what the best fitting change is and what it costs or gains, in time and copied bytes."""
    if change is None:
        return "no other choice fits, alone or swapped with one block"
    per = {"latency": "per token", "throughput": "per token"}.get(plan.problem.objective, "until the last token")
    others = [name for name in change.moves if name != block]
    move = f"making it {_choice_words(plan.problem, change.moves[block])}"
    if others:
        move = f"swapping it with {others[0]}" if _is_swap(plan, change, block, others[0]) else f"{move} in its place"
    effect = f"{'loses' if change.seconds > 0 else 'gains'} {format_seconds(abs(change.seconds))} {per}"
    if abs(change.seconds) <= _SAME * plan.objective_seconds:
        effect = f"changes nothing {per}"
    copied = pricing_of(plan.problem).price(plan.placement.moved(change.moves))[0].bytes_per_token
    more = copied - plan.prediction.bytes_per_token
    bytes_words = f", {format_bytes(abs(more))} {'more' if more > 0 else 'less'} copied" if more else ""
    return f"{move} {effect}{bytes_words}"


def _is_swap(plan: PlanResult, change: Change, block: str, other: str) -> bool:
    return change.moves[other] == plan.placement[block]
