"""What changing a placement by hand would do: its prediction, the differences, and what would keep it from running.

Prices one placement in a few milliseconds, because the cost tables of a problem are made once and kept while its
plan is in use. What this is not: a search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..cost.timing import compute_seconds, copied_bytes, decode_step
from ..cost.vectorised import peak_many, times_many
from ..units import format_bytes, format_seconds, format_speed
from .placement import Assignment, Placement
from .pricing import evaluate, violations
from .problem import PlanningProblem
from .result import PlanResult, Prediction
from .tables import Choices, CostTables, Floats, cost_tables

__all__ = ["Pricing", "WhatIf", "pricing_of", "what_if"]

_KEPT = 4
_recent: list[Pricing] = []


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A changed placement. Changes are new minus old: positive seconds are slower, positive bytes are more.

    `violations` are empty when the placement could run; the prediction is given all the same.
    """

    placement: Placement
    prediction: Prediction
    tpot_change_seconds: float
    ttft_change_seconds: float
    copied_change_bytes: int
    peak_change_bytes: Mapping[str, int]
    violations: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return the change in one sentence."""
        moved = [f"{name} {_signed_bytes(b)}" for name, b in self.peak_change_bytes.items() if b]
        memory = f"; memory {', '.join(moved)}" if moved else ""
        barred = f"; not possible: {'; '.join(self.violations)}" if self.violations else ""
        return (
            f"{format_speed(self.prediction.tokens_per_second)} tokens/s, "
            f"{_signed_seconds(self.tpot_change_seconds)} per token, "
            f"{_signed_bytes(self.copied_change_bytes)} copied per token{memory}{barred}"
        )

    def _repr_pretty_(self, printer: object, cycle: bool) -> None:
        printer.text("WhatIf(...)" if cycle else self.summary())  # type: ignore[attr-defined]


def _signed_bytes(size: float) -> str:
    return ("-" if size < 0 else "+") + format_bytes(abs(size))


def _signed_seconds(seconds: float) -> str:
    return ("-" if seconds < 0 else "+") + format_seconds(abs(seconds))


class Pricing:
    """The cost tables of one problem, ready to price placements of it."""

    def __init__(self, problem: PlanningProblem) -> None:
        self.problem = problem
        self.tables: CostTables = cost_tables(problem)
        self.index = [{option: k for k, option in enumerate(row)} for row in self.tables.options]
        step = decode_step(problem)
        self._copied = [
            [0 if b.kind == "embed" else copied_bytes(problem, b, option, step) for option in row]
            for b, row in zip(problem.blocks, self.tables.options, strict=True)
        ]

    def choice(self, placement: Placement) -> Choices | None:
        """Return option indices; None when an assignment is not among the problem's options."""
        found = [row.get(a) for row, a in zip(self.index, placement.assignments, strict=True)]
        return None if None in found else np.array(found, dtype=np.int64)

    def price(self, placement: Placement) -> tuple[Prediction, tuple[str, ...]]:
        """Return the prediction and the violations; PlanError when the placement makes no sense here."""
        choice = self.choice(placement) if len(placement.blocks) == len(self.index) else None
        if choice is None:  # a lock is lifted, or a precision that the search may not take
            return evaluate(self.problem, placement), tuple(violations(self.problem, placement))
        tpot, ttft = (float(seconds[0]) for seconds in times_many(self.tables, choice[None]))
        peaks = peak_many(self.tables, choice[None])[0]
        rows = np.arange(len(choice))
        names = [device.name for device in self.problem.devices]
        prediction = Prediction(
            tokens_per_second=self.problem.workload.batch / tpot,
            tpot_seconds=tpot,
            ttft_seconds=ttft,
            peak_bytes={name: round(float(peak)) for name, peak in zip(names, peaks, strict=True)},
            bytes_per_token=sum(self._copied[b][k] for b, k in enumerate(choice)),
            block_seconds=self._block_seconds(placement, self.tables.decode.compute[rows, choice]),
            copy_seconds=tuple(self.tables.decode.copy[rows, choice].tolist()),
            spread=self.problem.spread,
        )
        found = () if self._fits(prediction) else tuple(violations(self.problem, placement))
        return prediction, found

    def _block_seconds(self, placement: Placement, seconds: Floats) -> tuple[float, ...]:
        """Return the computing alone; the tables' entry of an embedding or of what is copied holds its wait as well."""
        step = decode_step(self.problem)
        return tuple(
            compute_seconds(self.problem, block, choice, step)
            if block.kind == "embed" or choice.mode != "resident" else float(table)
            for block, choice, table in zip(self.problem.blocks, placement.assignments, seconds, strict=True)
        )  # fmt: skip

    def _fits(self, prediction: Prediction) -> bool:
        caps = zip(self.problem.devices, self.tables.caps, strict=True)
        return all(prediction.peak_bytes[device.name] <= cap for device, cap in caps)


def pricing_of(problem: PlanningProblem) -> Pricing:
    """Return the pricing of `problem`; the last few are kept, by identity, as making the tables is the dear part."""
    for kept in _recent:
        if kept.problem is problem:
            return kept
    made = Pricing(problem)
    _recent[:] = [made, *_recent[: _KEPT - 1]]
    return made


def what_if(plan: PlanResult, moves: Mapping[str, Assignment | str | Sequence[str]]) -> WhatIf:
    """Return what `plan` would become with some blocks moved.

    Parameters
    ----------
    moves : block name -> an `Assignment`, or its words such as ``"cuda:0 cpu bf16"`` (exec, home, precision).

    Raises
    ------
    PlanError : a block, device or precision is not known.
    """
    changed = {block: _assignment(block, move) for block, move in moves.items()}
    placement = plan.placement.moved(changed)
    prediction, found = pricing_of(plan.problem).price(placement)
    before = plan.prediction
    return WhatIf(
        placement,
        prediction,
        prediction.tpot_seconds - before.tpot_seconds,
        prediction.ttft_seconds - before.ttft_seconds,
        prediction.bytes_per_token - before.bytes_per_token,
        {name: used - before.peak_bytes.get(name, 0) for name, used in prediction.peak_bytes.items()},
        found,
    )


def _assignment(block: str, move: Assignment | str | Sequence[str]) -> Assignment:
    if isinstance(move, Assignment):
        return move
    words = move if isinstance(move, str) else " ".join(move)
    return Placement.from_json({block: words}).assignments[0]
