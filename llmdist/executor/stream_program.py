"""The schedule on streams: what is queued for a run of tokens, with every event that orders it, as data.

A stream runs its operations in order; an event is recorded on one stream and waited for on another. Each operation
names the memory that it reads and writes, so that an order can be checked without a device. Slots are taken in turn
across the borders of tokens: a slot fixed per block would lie idle whenever the slots do not divide the copies.
Nothing here executes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from .schedule import Copy, Schedule

__all__ = ["BOUNCE_BUFFERS", "Operation", "StreamProgram", "build_program"]

#: Pinned host buffers between a disk and a GPU.
BOUNCE_BUFFERS = 2
HOST = "host"


@dataclass(frozen=True, slots=True)
class Operation:
    """One entry of a stream.

    `kind`: ``read`` (disk to a pinned buffer), ``copy``, ``compute``, ``transfer`` (activations), ``share`` (of the CPU
    in a split block), ``join``, ``sample``, ``record`` or ``wait``. `subject` is the block, or the event of a record or
    wait. `copy` is the copy that a read or copy carries out; `source` the device that activations come from.
    """

    kind: str
    stream: str
    subject: str
    token: int
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    copy: Copy | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class StreamProgram:
    """Operations in the order in which the host queues them: an event is recorded before it is waited for."""

    operations: tuple[Operation, ...]
    tokens: int

    def without(self, index: int) -> StreamProgram:
        """Return the program without one operation: how tests plant a forgotten wait."""
        return replace(self, operations=self.operations[:index] + self.operations[index + 1 :])

    def count(self, kind: str, token: int) -> int:
        """Return how many operations of `kind` one token has."""
        return sum(o.kind == kind and o.token == token for o in self.operations)


class _Builder:
    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.operations: list[Operation] = []
        self.token = 0
        self._freed: dict[str, str] = {}  # memory -> event after its last reader
        self._turn: dict[str, int] = defaultdict(int)  # bounce buffers taken per exec device
        self._copies: dict[str, int] = defaultdict(int)
        self.slot_counts = {
            device: len({c.slot for c in schedule.copies if c.exec_device == device})
            for device in dict.fromkeys(c.exec_device for c in schedule.copies)
        }
        self.place: dict[tuple[str, int], str] = {}  # (block, token) -> the slot that holds its weights

    def add(self, kind: str, stream: str, subject: str, **rest: object) -> None:
        self.operations.append(Operation(kind, stream, subject, self.token, **rest))  # type: ignore[arg-type]

    def wait_for(self, stream: str, memory: str) -> None:
        if memory in self._freed:
            self.add("wait", stream, self._freed[memory])

    def release(self, stream: str, memory: str, by: str) -> None:
        event = f"{memory} left by {by} at {self.token}"
        self.add("record", stream, event)
        self._freed[memory] = event

    def bring(self, copy: Copy) -> None:
        """Queue one copy: behind the last use of its slot, through a pinned buffer if it comes from a disk."""
        lane, turn = f"{copy.exec_device} copy", self._copies[copy.exec_device]
        slot = f"slot {turn % self.slot_counts[copy.exec_device]} of {copy.exec_device}"
        self._copies[copy.exec_device] += 1
        self.place[copy.block, self.token] = slot
        source = f"weights of {copy.block}"
        if copy.home_device == "disk" and copy.exec_device != "cpu":
            self._turn[copy.exec_device] += 1
            buffer = f"buffer {self._turn[copy.exec_device] % BOUNCE_BUFFERS} of {copy.exec_device}"
            reader = f"{copy.exec_device} read"
            self.wait_for(reader, buffer)
            self.add("read", reader, copy.block, reads=(source,), writes=(buffer,), copy=copy)
            self.add("record", reader, f"{buffer} filled for {copy.block} at {self.token}")
            self.add("wait", lane, f"{buffer} filled for {copy.block} at {self.token}")
            source = buffer
        self.wait_for(lane, slot)
        self.add("copy", lane, copy.block, reads=(source,), writes=(slot,), copy=copy)
        self.add("record", lane, f"{copy.block} arrived at {self.token}")
        if source.startswith("buffer"):
            self.release(lane, source, copy.block)


def build_program(schedule: Schedule, tokens: int, split: frozenset[str] = frozenset()) -> StreamProgram:
    """Return what `tokens` passes queue; copies run ahead across the borders of tokens as far as slots allow.

    Blocks in `split` are computed by the CPU and their device together: one join each.
    """
    builder = _Builder(schedule)
    copies = [(token, copy) for token in range(tokens) for copy in schedule.copies]
    ahead = {device: [c for c in copies if c[1].exec_device == device] for device in builder.slot_counts}
    for device, count in builder.slot_counts.items():
        for _ in range(count):
            _bring_next(builder, ahead[device])
    previous: str | None = None
    for token in range(tokens):
        for step in schedule.computes:
            builder.token = token
            stream, state = f"{step.device} compute", f"activations of {step.device}"
            if previous is None or step.block == schedule.computes[0].block:
                builder.wait_for(stream, "token")
                reads: tuple[str, ...] = ("token",)
            else:
                if previous != step.device:
                    _transfer(builder, previous, step.device, step.block)
                reads = (state,)
            if step.slot is not None:
                builder.add("wait", stream, f"{step.block} arrived at {token}")
                reads = (*reads, builder.place[step.block, token])
            if step.block in split:
                _compute_split(builder, step.device, step.block, reads)
            else:
                builder.add("compute", stream, step.block, reads=reads, writes=(state,))
            if step.slot is not None:
                builder.release(stream, builder.place[step.block, token], step.block)
                _bring_next(builder, ahead[step.device])
            previous = step.device
        builder.token = token
        _sample(builder, str(previous))
    return StreamProgram(tuple(builder.operations), tokens)


def _compute_split(builder: _Builder, device: str, block: str, reads: tuple[str, ...]) -> None:
    """Queue the CPU's share beside the device's own, and the join that adds the two sums."""
    stream, helper, partial = f"{device} compute", "cpu helper", f"sum of the CPU for {device}"
    event = f"{block} at {builder.token}"
    builder.add("record", stream, f"input of {event}")
    builder.add("wait", helper, f"input of {event}")
    builder.add("share", helper, block, reads=(f"activations of {device}",), writes=(partial,))
    builder.add("record", helper, f"share of {event}")
    builder.add("compute", stream, block, reads=reads, writes=(f"own sum of {device}",))
    builder.add("wait", stream, f"share of {event}")
    sums = (partial, f"own sum of {device}")
    builder.add("join", stream, block, reads=sums, writes=(f"activations of {device}",))


def _bring_next(builder: _Builder, ahead: list[tuple[int, Copy]]) -> None:
    if ahead:
        builder.token, copy = ahead.pop(0)
        builder.bring(copy)


def _transfer(builder: _Builder, source: str, target: str, block: str) -> None:
    """Queue the activations' way between two devices, on the stream that needs them."""
    event = f"activations for {block} at {builder.token}"
    builder.add("record", f"{source} compute", event)
    builder.add("wait", f"{target} compute", event)
    memory = {"reads": (f"activations of {source}",), "writes": (f"activations of {target}",)}
    builder.add("transfer", f"{target} compute", block, source=source, **memory)


def _sample(builder: _Builder, device: str) -> None:
    event = f"logits at {builder.token}"
    builder.add("record", f"{device} compute", event)
    builder.add("wait", HOST, event)
    builder.add("sample", HOST, "sample", reads=(f"activations of {device}",), writes=("token",))
    builder.release(HOST, "token", "sample")
