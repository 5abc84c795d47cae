"""The placement under edit: option indices, locks, undo and redo. Pure: no widget, no session, no clock.

`static/editor_state.js` does the same in the browser, so that a click shows before the kernel answers; a parity test
holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmdist.errors import PlanError
from llmdist.planner.placement import Assignment, Placement
from llmdist.planner.tables import CostTables

from .editor_tables import variant_of
from .editor_words import Target

__all__ = ["Draft", "Snapshot", "option_of"]

HISTORY = 500


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state of the draft: the option of each block, and the indices of locked blocks."""

    choice: tuple[int, ...]
    locked: frozenset[int]


def option_of(options: Sequence[Assignment], current: int, target: Target) -> int | None:
    """Return the option that fulfils `target` and differs least from the current one; None when none does.

    Keeping the precision counts most, then the exec device, the home device and the mode.
    """
    now = options[current]
    best, best_score = None, -1
    for index, option in enumerate(options):
        asked = (
            (target.execute, option.exec_device), (target.home, option.home_device),
            (target.precision, option.precision),
            (target.mode, variant_of(option) if ":" in (target.mode or "") else option.mode),
        )  # fmt: skip
        if any(want is not None and want != has for want, has in asked):
            continue
        score = 8 * (option.precision == now.precision) + 4 * (option.exec_device == now.exec_device)
        score += 2 * (option.home_device == now.home_device) + (variant_of(option) == variant_of(now))
        if score > best_score:
            best, best_score = index, score
    return best


class Draft:
    """A history of snapshots over the options of one problem."""

    def __init__(self, tables: CostTables, placement: Placement, locked: Iterable[int] = ()) -> None:
        self.tables = tables
        self.names = tuple(block.name for block in tables.problem.blocks)
        self._past: list[Snapshot] = []
        self._future: list[Snapshot] = []
        self.now = Snapshot(self.choice_of(placement), frozenset(locked))

    @property
    def placement(self) -> Placement:
        """Return the draft as a placement."""
        return self.tables.placement(np.array(self.now.choice, dtype=np.int64))

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""
        return bool(self._future)

    def choice_of(self, placement: Placement) -> tuple[int, ...]:
        """Return the option indices of `placement`; PlanError when it is not of this problem."""
        if placement.blocks != self.names:
            raise PlanError(
                f"The placement is for another model: it has {len(placement.blocks)} blocks "
                f"({placement.blocks[0]} .. {placement.blocks[-1]}), this one {len(self.names)} "
                f"({self.names[0]} .. {self.names[-1]})."
            )
        foreign = [
            f"{name}: {choice.label}"
            for row, (name, choice) in zip(self.tables.options, placement.items(), strict=True)
            if choice not in row
        ]
        if foreign:
            precisions = ", ".join(self.tables.problem.precisions)
            raise PlanError(
                f"{len(foreign)} blocks are placed as this plan cannot, such as {foreign[0]}: its devices are "
                f"{', '.join(d.name for d in self.tables.problem.devices)}, its precisions {precisions}; plan again "
                "with what the placement needs."
            )
        pairs = zip(self.tables.options, placement.assignments, strict=True)
        return tuple(row.index(choice) for row, choice in pairs)

    def moves(self, indices: Iterable[int], target: Target) -> tuple[dict[int, int], list[int]]:
        """Return (block -> new option, blocks that have no such option); locked blocks are in neither."""
        changes: dict[int, int] = {}
        impossible: list[int] = []
        for index in indices:
            if index in self.now.locked:
                continue
            option = option_of(self.tables.options[index], self.now.choice[index], target)
            if option is None:
                impossible.append(index)
            else:
                changes[index] = option
        return changes, impossible

    def set(self, changes: Mapping[int, int]) -> tuple[int, ...]:
        """Put blocks to options as one step that can be undone; locked blocks stay. Return what changed."""
        choice = list(self.now.choice)
        for index, option in changes.items():
            if not 0 <= index < len(choice) or not 0 <= option < len(self.tables.options[index]):
                raise PlanError(f"Block number {index} has no option {option}: reload the editor with %llm_place.")
            if index not in self.now.locked:
                choice[index] = option
        changed = tuple(i for i, (a, b) in enumerate(zip(self.now.choice, choice, strict=True)) if a != b)
        if changed:
            self._step(Snapshot(tuple(choice), self.now.locked))
        return changed

    def replace(self, choice: Sequence[int]) -> None:
        """Put a whole placement, locked blocks too, as one step that can be undone."""
        if tuple(choice) != self.now.choice:
            self._step(Snapshot(tuple(choice), self.now.locked))

    def lock(self, indices: Iterable[int], locked: bool = True) -> None:
        """Lock or unlock blocks, as one step that can be undone."""
        chosen = frozenset(i for i in indices if 0 <= i < len(self.names))
        wanted = self.now.locked | chosen if locked else self.now.locked - chosen
        if wanted != self.now.locked:
            self._step(Snapshot(self.now.choice, wanted))

    def _step(self, snapshot: Snapshot) -> None:
        self._past = [*self._past, self.now][-HISTORY:]
        self._future = []
        self.now = snapshot

    def undo(self) -> bool:
        """Take the last step back; False when there is none."""
        if not self._past:
            return False
        self._future.append(self.now)
        self.now = self._past.pop()
        return True

    def redo(self) -> bool:
        """Do the step again that was taken back; False when there is none."""
        if not self._future:
            return False
        self._past.append(self.now)
        self.now = self._future.pop()
        return True
