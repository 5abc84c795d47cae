"""Measured facts of devices and links, with a date: all that the planner knows of a machine.

A device has a memory and may execute; a disk only holds. Rates are what was measured, never nominal,
unless `source` says ``nominal``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Device", "HardwareProfile", "Link"]


@dataclass(frozen=True, slots=True)
class Device:
    """A memory, and the processor beside it if `kind` is not ``disk``.

    `name`: ``cpu``, ``cuda:0``, ``disk``; on one machine of several ``m1/cuda:0``.
    `kind`: ``cpu``, ``cuda`` or ``disk``. `memory_bytes`: total;
    `free_bytes`: free when probed. `bandwidth`: bytes/s at which a decode step reads weights.
    `flops`: FLOP/s of a large matmul. `overhead_seconds`: fixed price of computing one block once.
    `pinned_bytes`: how much of a CPU's memory may be pinned for copies to GPUs (0: no limit of its own).
    `bus_bandwidth`: bytes/s that all readers of a CPU's memory share (0: not known, not modelled).
    `pass_seconds`: fixed price of one pass on this CPU beside its blocks: asking the engine, choosing the token.
    `handover_seconds` and `handover_seconds_per_byte`: what one block that is streamed to this CPU takes from its
    computing, because the processor itself brings it.
    `precision_factors`: how many times longer than the rates say a decode step reads and computes a block in a
    precision, as runs have shown (see `llmdist.calibration`); 1 where none is named.
    `has_bf16`: whether a GPU computes in bf16 (not before Ampere); fp16 takes its place where one does not.
    """

    name: str
    kind: str
    memory_bytes: int
    free_bytes: int
    bandwidth: float = 0.0
    flops: float = 0.0
    overhead_seconds: float = 0.0
    label: str = ""
    pinned_bytes: int = 0
    bus_bandwidth: float = 0.0
    pass_seconds: float = 0.0
    handover_seconds: float = 0.0
    handover_seconds_per_byte: float = 0.0
    precision_factors: Mapping[str, float] = field(default_factory=dict, hash=False)
    has_bf16: bool = True

    @property
    def machine(self) -> str:
        """Return the machine's name, the part before the slash; empty for the only machine."""
        return self.name.rpartition("/")[0]

    @property
    def executes(self) -> bool:
        """Whether blocks can be computed here."""
        return self.kind != "disk"


@dataclass(frozen=True, slots=True)
class Link:
    """A path from one device's memory to another's: `bandwidth` in bytes/s, `latency_seconds`."""

    source: str
    target: str
    bandwidth: float
    latency_seconds: float


@dataclass(frozen=True, slots=True)
class HardwareProfile:
    """The devices and links of one machine.

    `source` is ``measured``, ``simulated`` or ``nominal``; `note` says what to know of the figures. `spread` is the
    relative deviation of measured speeds from predictions made with these rates (0: not known).
    """

    machine: str
    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    date: str
    source: str = "measured"
    note: str = ""
    spread: float = 0.0

    def device(self, name: str) -> Device:
        """Return the device called `name`; KeyError if there is none."""
        for device in self.devices:
            if device.name == name:
                return device
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """Return the profile as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> HardwareProfile:
        """Return the profile that `to_json` wrote."""
        return cls(
            **{
                **data,
                "devices": tuple(Device(**device) for device in data["devices"]),
                "links": tuple(Link(**link) for link in data["links"]),
            }
        )
