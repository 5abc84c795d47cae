"""Where each block's weights rest, where it executes, and at which precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import PlanError

__all__ = ["Assignment", "Placement"]


@dataclass(frozen=True, slots=True, order=True)
class Assignment:
    """One block's choice. Resident: home = exec; streamed: the weights are copied for each step."""

    exec_device: str
    home_device: str
    precision: str

    @property
    def mode(self) -> str:
        """Return ``resident`` or ``streamed``."""
        return "resident" if self.exec_device == self.home_device else "streamed"

    @property
    def label(self) -> str:
        """Return a short label such as ``cpu bf16`` or ``disk>cpu bf16``."""
        path = self.exec_device if self.mode == "resident" else f"{self.home_device}>{self.exec_device}"
        return f"{path} {self.precision}"


@dataclass(frozen=True, slots=True)
class Placement:
    """Block name -> assignment, in the model's order."""

    blocks: tuple[str, ...]
    assignments: tuple[Assignment, ...]

    def __post_init__(self) -> None:
        if len(self.blocks) != len(self.assignments) or len(set(self.blocks)) != len(self.blocks):
            raise PlanError(
                f"A placement needs one assignment per block: {len(self.blocks)} blocks "
                f"({len(set(self.blocks))} different), {len(self.assignments)} assignments."
            )

    def __getitem__(self, block: str) -> Assignment:
        try:
            return self.assignments[self.blocks.index(block)]
        except ValueError:
            raise PlanError(f"No block {block!r}; blocks are {self.blocks[0]} .. {self.blocks[-1]}.") from None

    def items(self) -> Iterator[tuple[str, Assignment]]:
        """Yield (block name, assignment) in the model's order."""
        return iter(zip(self.blocks, self.assignments, strict=True))

    def moved(self, moves: Mapping[str, Assignment]) -> Placement:
        """Return the placement with some blocks changed."""
        for block in moves:
            self[block]  # raises for an unknown name
        return Placement(self.blocks, tuple(moves.get(name, old) for name, old in self.items()))

    def count(self, mode: str) -> int:
        """Return how many blocks are in `mode`."""
        return sum(assignment.mode == mode for assignment in self.assignments)

    def in_words(self) -> str:
        """Return runs of equal choices, such as ``layers.0.attention .. layers.2.mlp: cpu bf16``."""
        lines: list[str] = []
        start = 0
        for i in range(1, len(self.blocks) + 1):
            if i == len(self.blocks) or self.assignments[i] != self.assignments[start]:
                last = i - 1
                span = self.blocks[start] if last == start else f"{self.blocks[start]} .. {self.blocks[last]}"
                count = f" ({i - start} blocks)" if i - start > 1 else ""
                lines.append(f"{span}{count}: {self.assignments[start].mode}, {self.assignments[start].label}")
                start = i
        return "\n".join(lines)

    def to_json(self) -> dict[str, str]:
        """Return ``{block: "exec home precision"}``, one diffable line per block."""
        return {n: f"{a.exec_device} {a.home_device} {a.precision}" for n, a in self.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Placement:
        """Return the placement that `to_json` wrote; PlanError names the bad entries."""
        bad = [name for name, text in data.items() if not isinstance(text, str) or len(text.split()) != 3]
        if bad:
            raise PlanError(f"Placement entries must read 'exec home precision'; not so: {', '.join(bad[:5])}.")
        return cls(tuple(data), tuple(Assignment(*text.split()) for text in data.values()))
