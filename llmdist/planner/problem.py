"""The planning problem as data: blocks, devices with caps, links, workload, what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import PlanError
from ..hardware.profile import Device, Link
from ..model.blocks import BYTES_PER_PARAMETER, Block
from .placement import Assignment

__all__ = ["PlanningProblem", "Workload"]


@dataclass(frozen=True, slots=True)
class Workload:
    """What a plan is good for: sequences, prompt tokens, new tokens, KV cache precision."""

    batch: int = 1
    prompt_tokens: int = 32
    new_tokens: int = 128
    kv_precision: str = "bf16"

    @property
    def context(self) -> int:
        """Return the tokens that the KV cache must hold per sequence."""
        return self.prompt_tokens + self.new_tokens


@dataclass(frozen=True, slots=True)
class PlanningProblem:
    """Choose one option for every block, under the caps.

    `caps` are bytes per device name (a device without an entry is capped by its free memory);
    `slots` is the number of staging slots per exec device; `precisions` are allowed for every block;
    `locks` fixes blocks. `workspace_bytes` is held per exec device besides weights, KV and slots.
    """

    blocks: tuple[Block, ...]
    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    hidden_size: int
    workload: Workload = field(default_factory=Workload)
    caps: Mapping[str, int] = field(default_factory=dict)
    precisions: tuple[str, ...] = ("bf16",)
    slots: int = 2
    workspace_bytes: int = 0
    objective: str = "latency"  # latency (TPOT) or finish (TTFT + (G - 1) TPOT)
    locks: Mapping[str, Assignment] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = list(self._violations())
        if problems:
            raise PlanError("The planning problem is not valid: " + "; ".join(problems) + ".")

    def _violations(self) -> list[str]:
        names = {device.name for device in self.devices}
        blocks = {block.name for block in self.blocks}
        found = []
        if not self.blocks or len(blocks) != len(self.blocks):
            found.append("it needs at least one block and no name twice")
        if not any(device.executes for device in self.devices):
            found.append("no device executes")
        found += [f"cap for unknown device {name}" for name in self.caps if name not in names]
        found += [f"cap of {n} is {c} bytes" for n, c in self.caps.items() if not c >= 0]
        found += [f"unknown precision {p}" for p in self.precisions if p not in BYTES_PER_PARAMETER]
        found += [f"lock for unknown block {name}" for name in self.locks if name not in blocks]
        for link in self.links:
            if not {link.source, link.target} <= names:
                found.append(f"link {link.source}>{link.target} joins an unknown device")
            if not (link.bandwidth > 0 and link.latency_seconds >= 0):
                found.append(f"link {link.source}>{link.target} has bandwidth {link.bandwidth} B/s")
        for device in self.devices:
            if device.executes and not (device.bandwidth > 0 and device.flops > 0):
                found.append(f"device {device.name} has no measured rates")
        if self.slots < 1 or self.workload.batch < 1 or self.workload.context < 1:
            found.append("slots, batch and context must be at least 1")
        if self.objective not in ("latency", "finish"):
            found.append(f"unknown objective {self.objective} (latency or finish)")
        return found

    def cap(self, device: str) -> int:
        """Return the bytes that may be used on `device`."""
        if device in self.caps:
            return self.caps[device]
        return next(d.free_bytes for d in self.devices if d.name == device)

    def link(self, source: str, target: str) -> Link | None:
        """Return the link from `source` to `target`, or None."""
        return next((k for k in self.links if (k.source, k.target) == (source, target)), None)

    def options(self, block: Block) -> tuple[Assignment, ...]:
        """Return the assignments that `block` may take, in a fixed order."""
        if block.name in self.locks:
            return (self.locks[block.name],)
        return tuple(
            Assignment(execute.name, home.name, precision)
            for execute in self.devices
            if execute.executes
            for home in self.devices
            if home.name == execute.name or (home.kind != "cuda" and self.link(home.name, execute.name))
            for precision in self.precisions
        )

    def with_caps(self, caps: Mapping[str, int]) -> PlanningProblem:
        """Return the same problem under other caps."""
        return replace(self, caps={**self.caps, **caps})

    def to_json(self) -> dict[str, Any]:
        """Return the problem as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PlanningProblem:
        """Return the problem that `to_json` wrote; PlanError when a field is missing or wrong."""
        try:
            return cls(
                **{
                    **data,
                    "blocks": tuple(Block(**block) for block in data["blocks"]),
                    "devices": tuple(Device(**device) for device in data["devices"]),
                    "links": tuple(Link(**link) for link in data["links"]),
                    "workload": Workload(**data["workload"]),
                    "precisions": tuple(data["precisions"]),
                    "locks": {n: Assignment(**lock) for n, lock in data["locks"].items()},
                }
            )
        except (KeyError, TypeError) as error:
            raise PlanError(f"The planning problem cannot be read: {error}.") from error
