"""The schedule as data: what is copied and what is computed, in which order, through which slot.

One `Schedule` describes one pass over the blocks; decoding repeats it cyclically, so the copies that head
the list run behind the tail of the pass before. Every executor and every timeline reads this list.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..planner.placement import Placement

__all__ = ["Compute", "Copy", "Schedule", "build_schedule"]


@dataclass(frozen=True, slots=True)
class Copy:
    """Bring the weights of `block` from `home_device` into staging slot `slot` of `exec_device`.

    `after_block` is the block whose compute frees the slot; in the first pass the slot may be free.
    """

    block: str
    home_device: str
    exec_device: str
    slot: int
    after_block: str | None


@dataclass(frozen=True, slots=True)
class Compute:
    """Compute `block` on `device`; `slot` is the staging slot of a streamed block, else None."""

    block: str
    device: str
    slot: int | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """One pass: `copies` in lane order and `computes` in chain order."""

    copies: tuple[Copy, ...]
    computes: tuple[Compute, ...]


def build_schedule(placement: Placement, slots: int) -> Schedule:
    """Return the schedule of one pass. The embedding never takes a slot: its rows are read directly."""
    users: dict[str, list[str]] = {}
    for name, choice in placement.items():
        if choice.copies and not choice.on_demand and name != "embed":
            users.setdefault(choice.exec_device, []).append(name)
    slot_of: dict[str, int] = {}
    after: dict[str, str | None] = {}
    for streamed in users.values():
        count = min(slots, len(streamed))
        for i, name in enumerate(streamed):
            slot_of[name] = i % count
            same_slot = [other for j, other in enumerate(streamed) if j % count == i % count]
            position = same_slot.index(name)
            after[name] = same_slot[position - 1] if len(same_slot) > 1 else name
    copies = tuple(
        Copy(name, choice.home_device, choice.exec_device, slot_of[name], after[name])
        for name, choice in placement.items()
        if name in slot_of
    )
    computes = tuple(
        Compute(name, choice.exec_device, slot_of.get(name)) for name, choice in placement.items()
    )
    return Schedule(copies, computes)
