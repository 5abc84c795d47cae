"""The planning problem as data: blocks, devices with caps, links, workload, what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import PlanError
from ..hardware.profile import Device, Link
from ..model.blocks import BYTES_PER_PARAMETER, Block
from .placement import EIGHTHS, Assignment

__all__ = ["DEFAULT_PENALTIES", "MODES", "OBJECTIVES", "PlanningProblem", "Workload"]

MODES = ("resident", "streamed", "demand", "split")
LARGEST_SPREAD = 10.0
OBJECTIVES = ("latency", "finish", "throughput")
#: Loss of quality when the whole model is at a precision; the unit is a model wholly in int4.
DEFAULT_PENALTIES = {"fp32": 0.0, "bf16": 0.0, "fp16": 0.0, "int8": 0.1, "int4": 1.0}


@dataclass(frozen=True, slots=True)
class Workload:
    """What a plan is good for: sequences, prompt tokens, new tokens, KV cache precision.

    `tokens_per_pass` are computed for each sequence in one decode pass (more than one with speculation), of
    which `accepted_share` are kept; guessing takes `draft_seconds` before each pass. `in_flight` passes are under
    way at once (objective throughput).
    """

    batch: int = 1
    prompt_tokens: int = 32
    new_tokens: int = 128
    kv_precision: str = "bf16"
    tokens_per_pass: int = 1
    accepted_share: float = 1.0
    in_flight: int = 1
    draft_seconds: float = 0.0

    @property
    def context(self) -> int:
        """Return the tokens that the KV cache must hold per sequence."""
        return self.prompt_tokens + self.new_tokens

    @property
    def accepted(self) -> float:
        """Return the tokens per sequence that one decode pass yields, at least 1."""
        return max(1.0, self.tokens_per_pass * self.accepted_share)


@dataclass(frozen=True, slots=True)
class PlanningProblem:
    """Choose one option for every block, under the caps.

    `caps` are bytes per device name (a device without an entry is capped by its free memory);
    `slots` is the number of staging slots per exec device; `precisions` are allowed for every block;
    `locks` fixes blocks. `workspace_bytes` is held per exec device besides weights, KV and slots.
    `modes` are offered (resident, streamed, demand for experts; on simulated machines also split, whose shares on the
    CPU are `split_eighths` and whose join costs `join_seconds`). A block's penalty is its share of the
    parameters times the precision's entry in `penalties`, unless `block_penalties` says otherwise; their sum
    must stay within `quality_budget` (None: no limit). `held` are bytes per device that something beside the plan
    takes of the caps, such as a draft model. `spread` is the profile's: it goes into every prediction.
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
    objective: str = "latency"  # latency (TPOT), finish (TTFT + (G - 1) TPOT) or throughput (seconds between tokens)
    locks: Mapping[str, Assignment] = field(default_factory=dict)
    modes: tuple[str, ...] = ("resident", "streamed")
    split_eighths: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)
    join_seconds: float = 15e-6
    penalties: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_PENALTIES))
    block_penalties: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    quality_budget: float | None = None
    spread: float = 0.0
    held: Mapping[str, int] = field(default_factory=dict)

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
        found += [f"unknown device {name} holds something" for name in self.held if name not in names]
        found += [f"what is held on {n} is {c} bytes" for n, c in self.held.items() if not c >= 0]
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
            wrong = [p for p, factor in device.precision_factors.items() if not 0 < factor < float("inf")]
            found += [f"device {device.name} has a factor of {device.precision_factors[p]} for {p}" for p in wrong]
        if not 0 <= self.spread <= LARGEST_SPREAD:
            found.append(f"the spread is {self.spread}, not in 0..{LARGEST_SPREAD}")
        if self.slots < 1 or self.workload.batch < 1 or self.workload.context < 1:
            found.append("slots, batch and context must be at least 1")
        if self.objective not in OBJECTIVES:
            found.append(f"unknown objective {self.objective} ({', '.join(OBJECTIVES)})")
        return found + self._violations_of_modes()

    def _violations_of_modes(self) -> list[str]:
        found = [f"unknown mode {mode} ({', '.join(MODES)})" for mode in self.modes if mode not in MODES]
        if "resident" not in self.modes:
            found.append("the mode resident must be allowed")
        wrong = [n for n in self.split_eighths if not 0 < n < EIGHTHS]
        found += [f"a split of {n} eighths is not in 1..{EIGHTHS - 1}" for n in wrong]
        values = [*self.penalties.values(), *(v for row in self.block_penalties.values() for v in row.values())]
        if not all(value >= 0 for value in values) or not self.join_seconds >= 0:
            found.append("penalties and join_seconds must be at least 0")
        if self.quality_budget is not None and not self.quality_budget >= 0:
            found.append(f"the quality budget is {self.quality_budget}")
        load = self.workload
        if load.tokens_per_pass < 1 or load.in_flight < 1 or not 0 < load.accepted_share <= 1:
            found.append("tokens per pass and passes in flight must be at least 1, the accepted share in 0..1")
        if not 0 <= load.draft_seconds < float("inf"):
            found.append(f"guessing takes {load.draft_seconds} s")
        return found

    @property
    def pass_seconds(self) -> float:
        """Return the price of one pass beside its blocks: that of the slowest host, and of guessing."""
        return max(device.pass_seconds for device in self.devices) + self.workload.draft_seconds

    def cap(self, device: str) -> int:
        """Return the bytes that the plan may use on `device`: its cap less what is held there beside the plan."""
        whole = self.caps.get(device)
        if whole is None:
            whole = next(d.free_bytes for d in self.devices if d.name == device)
        return max(0, whole - self.held.get(device, 0))

    def link(self, source: str, target: str) -> Link | None:
        """Return the link from `source` to `target`, or None."""
        return next((k for k in self.links if (k.source, k.target) == (source, target)), None)

    def options(self, block: Block) -> tuple[Assignment, ...]:
        """Return the assignments that `block` may take, in a fixed order."""
        if block.name in self.locks:
            return (self.locks[block.name],)
        pairs = [(e, h) for e in self.devices if e.executes for h in self.devices if self._reaches(h, e)]
        plain = [Assignment(e.name, h.name, p) for e, h in pairs for p in self.precisions]
        more: list[Assignment] = []
        if block.kind == "experts" and "demand" in self.modes:
            more = [Assignment(e.name, h.name, p, 0, True) for e, h in pairs if e != h for p in self.precisions]
        if block.kind == "mlp" and "split" in self.modes:
            more = [
                Assignment(e.name, h.name, p, eighths)
                for e, h in pairs
                if e.kind == "cuda" and h.kind != "disk" and self.joins(e.name)
                for p in self.precisions
                for eighths in self.split_eighths
            ]
        return tuple(option for option in [*plain, *more] if option.mode in self.modes)

    def _reaches(self, home: Device, execute: Device) -> bool:
        """Whether weights can rest at `home` and be used by `execute`: not over a network, not from a GPU."""
        if home.name == execute.name:
            return True
        linked = self.link(home.name, execute.name) is not None
        return linked and home.kind != "cuda" and home.machine == execute.machine

    def host(self, device: str) -> Device | None:
        """Return the CPU on the same machine as `device`."""
        machine = device.rpartition("/")[0]
        return next((d for d in self.devices if d.kind == "cpu" and d.machine == machine), None)

    def joins(self, device: str) -> bool:
        """Whether `device` and its host can share one block: both directions are linked."""
        host = self.host(device)
        return host is not None and all(
            self.link(*pair) is not None for pair in ((host.name, device), (device, host.name))
        )

    def penalty(self, block: Block, precision: str) -> float:
        """Return the loss of quality that `block` at `precision` adds."""
        own = self.block_penalties.get(block.name, {})
        if precision in own:
            return own[precision]
        total = sum(other.parameters for other in self.blocks)
        return self.penalties.get(precision, 0.0) * block.parameters / max(1, total)

    def with_caps(self, caps: Mapping[str, int]) -> PlanningProblem:
        """Return the same problem with other bytes for the plan itself; what is held beside it comes on top."""
        return replace(self, caps={**self.caps, **{n: c + self.held.get(n, 0) for n, c in caps.items()}})

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
                    "modes": tuple(data.get("modes", ("resident", "streamed"))),
                    "split_eighths": tuple(data.get("split_eighths", (1, 2, 3, 4, 5, 6, 7))),
                    "locks": {n: Assignment(**lock) for n, lock in data["locks"].items()},
                }
            )
        except (KeyError, TypeError) as error:
            raise PlanError(f"The planning problem cannot be read: {error}.") from error
