"""Where each block's weights rest, where it executes, and at which precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import PlanError

__all__ = ["EIGHTHS", "Assignment", "Placement"]

EIGHTHS = 8  # the grain of a split


@dataclass(frozen=True, slots=True, order=True)
class Assignment:
    """One block's choice. Resident: home = exec; streamed: the weights are copied for each step.

    `on_demand` (experts): only the routed experts are copied, once it is known which. `cpu_eighths` (MLP):
    so many eighths of the neurons rest in and are computed by the CPU beside `exec_device`; the others rest
    at `home_device` and follow its mode.
    """

    exec_device: str
    home_device: str
    precision: str
    cpu_eighths: int = 0
    on_demand: bool = False

    @property
    def mode(self) -> str:
        """Return ``resident``, ``streamed``, ``demand`` or ``split``."""
        if self.cpu_eighths:
            return "split"
        if self.exec_device == self.home_device:
            return "resident"
        return "demand" if self.on_demand else "streamed"

    @property
    def copies(self) -> bool:
        """Whether weights are copied in each pass."""
        return self.exec_device != self.home_device

    @property
    def own_share(self) -> float:
        """Return the share of the block that the exec device computes itself."""
        return 1.0 - self.cpu_eighths / EIGHTHS

    @property
    def label(self) -> str:
        """Return a short label such as ``cpu bf16``, ``disk>cpu bf16`` or ``cuda:0 int4 split:3``."""
        path = f"{self.home_device}>{self.exec_device}" if self.copies else self.exec_device
        return " ".join([path, self.precision, *self._extra()])

    def _extra(self) -> list[str]:
        return [f"split:{self.cpu_eighths}"] if self.cpu_eighths else ["demand"] if self.on_demand else []

    def to_text(self) -> str:
        """Return ``exec home precision``, followed by ``demand`` or ``split:EIGHTHS`` where it is so."""
        return " ".join([self.exec_device, self.home_device, self.precision, *self._extra()])

    @classmethod
    def from_text(cls, text: str) -> Assignment:
        """Return the assignment that `to_text` wrote; PlanError when it cannot be read."""
        words = text.split()
        extra = words[3] if len(words) == 4 else ""
        digits = extra.removeprefix("split:") if extra.startswith("split:") else "0"
        if len(words) not in (3, 4) or (extra and extra != "demand" and digits not in list("1234567")):
            raise PlanError(f"{text!r} was given, but an assignment reads 'exec home precision [demand|split:1..7]'.")
        return cls(words[0], words[1], words[2], int(digits), extra == "demand")


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

    def counted(self) -> str:
        """Return how many blocks are in each mode that occurs, such as ``9 blocks resident, 4 streamed``."""
        more = (("on demand", self.count("demand")), ("shared by GPU and CPU", self.count("split")))
        resident = self.count("resident")
        counts = [f"{resident} block{'s' * (resident != 1)} resident", f"{self.count('streamed')} streamed"]
        return ", ".join([*counts, *(f"{count} {words}" for words, count in more if count)])

    def in_words(self) -> str:
        """Return one line per kind of choice, such as ``resident, cpu bf16: 9 blocks: attention 0-3, 5; mlp 2``."""
        groups: dict[Assignment, list[str]] = {}
        for name, assignment in self.items():
            groups.setdefault(assignment, []).append(name)
        lines = []
        for assignment, names in groups.items():
            count = f"{len(names)} block{'s' if len(names) > 1 else ''}"
            lines.append(f"{assignment.mode}, {assignment.label}: {count}: {_spans(names)}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, str]:
        """Return ``{block: "exec home precision"}``, one diffable line per block."""
        return {name: assignment.to_text() for name, assignment in self.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Placement:
        """Return the placement that `to_json` wrote; PlanError names the bad entries."""
        bad = [name for name, text in data.items() if not isinstance(text, str) or len(text.split()) not in (3, 4)]
        if bad:
            raise PlanError(f"Placement entries must read 'exec home precision'; not so: {', '.join(bad[:5])}.")
        return cls(tuple(data), tuple(Assignment.from_text(text) for text in data.values()))


def _spans(names: list[str]) -> str:
    """Return block names with the layers' numbers drawn together: ``embed; attention 0-3, 5; head``."""
    layers: dict[str, list[int]] = {}
    for name in names:
        prefix, _, rest = name.partition(".")
        number, _, kind = rest.partition(".")
        if prefix == "layers" and number.isdigit():
            layers.setdefault(kind, []).append(int(number))
        else:
            layers.setdefault(name, [])
    return "; ".join(f"{kind} {_ranges(numbers)}".rstrip() for kind, numbers in layers.items())


def _ranges(numbers: list[int]) -> str:
    """Return ascending numbers as ``0-3, 5``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
