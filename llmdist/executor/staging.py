"""Streamed blocks pass through a few reusable slots: the pool is the only memory that they take.

`SequentialCopies` fills a slot at the moment it is needed (the plain version and the test oracle);
`PrefetchingCopies` asks for blocks ahead of the compute, across token borders, so that the reader always has
work. Both hand out the blocks in the schedule's order. To a GPU a block goes by the device's lane: the lane waits until
the slot was computed with, the device until the block has arrived, and the host for neither.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..buffers import aligned_buffer
from ..events import CopyFinished
from ..kernels.cpu import Weight
from ..model.reader import Pending, Reader
from .runtime import Event, Runtime
from .schedule import Copy, Schedule
from .stream_program import BOUNCE_BUFFERS
from .weights import BlockLayout, fill

__all__ = ["PrefetchingCopies", "SequentialCopies", "SlotPool", "Staged"]


@dataclass(frozen=True, slots=True)
class Staged:
    """The weights of one streamed block in a slot; valid once `pending` has ended and the device has seen `arrived`.

    `began`: the point before a copy to a GPU. The times in `record` are then those at which it was asked for.
    """

    copy: Copy
    tensors: Mapping[str, Weight]
    record: CopyFinished
    pending: Pending | None = None
    began: Event | None = None
    arrived: Event | None = None


class SlotPool:
    """The staging slots of every exec device, each as large as that device's largest streamed block."""

    def __init__(
        self, schedule: Schedule, layouts: Mapping[str, BlockLayout], host: Mapping[str, Tensor], reader: Reader,
        runtime: Runtime,
    ) -> None:  # fmt: skip
        self.layouts, self.host, self.reader, self.runtime = layouts, host, reader, runtime
        sizes: dict[tuple[str, int], int] = {}
        for copy in schedule.copies:
            largest = max(layouts[c.block].nbytes for c in schedule.copies if c.exec_device == copy.exec_device)
            sizes[copy.exec_device, copy.slot] = largest
        self.slots = {key: self._slot(key[0], size) for key, size in sizes.items()}
        devices = {device for device, _ in sizes} - {"cpu"}
        self._lanes = {device: runtime.lane(device) for device in devices}
        self._used: dict[tuple[str, int], Event] = {}  # after the last compute with a slot
        through = [c for c in schedule.copies if c.home_device == "disk"]
        most = {d: max((layouts[c.block].nbytes for c in through if c.exec_device == d), default=0) for d in devices}
        self._bounce = {device: _Bounce(runtime, size) for device, size in most.items() if size}
        self.nbytes = sum(sizes.values()) + sum(bounce.nbytes for bounce in self._bounce.values())

    def _slot(self, device: str, size: int) -> Tensor:
        if device == "cpu":
            return aligned_buffer(size)
        return torch.empty(size, dtype=torch.uint8, device=self.runtime.place(device))

    def request(self, copy: Copy, clock: Callable[[], float]) -> Staged:
        """Start to fill the copy's slot, which may end after this returns: see `Staged`."""
        start = clock()
        layout, slot = self.layouts[copy.block], self.slots[copy.exec_device, copy.slot]
        pending = began = arrived = None
        if copy.exec_device != "cpu":
            moved, began, arrived = self._send(copy, layout, slot)
        elif copy.home_device != "disk":
            slot[: layout.nbytes].copy_(self.host[copy.block][: layout.nbytes])
            moved = layout.nbytes
        elif not layout.plain:
            moved = fill(layout, slot, self.reader)
        else:
            moved = layout.file_bytes
            pending = self.reader.submit(layout.parts(slot))
        record = CopyFinished(copy.block, start, clock(), moved, copy.slot)
        return Staged(copy, layout.views(slot), record, pending, began, arrived)

    def _send(self, copy: Copy, layout: BlockLayout, slot: Tensor) -> tuple[int, Event, Event]:
        """Queue the copy to a GPU behind the last use of its slot; return the bytes from its home, and its ends."""
        lane, bounce = self._lanes[copy.exec_device], self._bounce.get(copy.exec_device)
        moved, source = layout.nbytes, self.host.get(copy.block)
        if copy.home_device == "disk":
            assert bounce is not None
            source = bounce.next()
            moved = fill(layout, source, self.reader)
        assert source is not None, f"{copy.block} rests nowhere"
        used = self._used.pop((copy.exec_device, copy.slot), None)
        if used is not None:
            lane.wait(used)
        began = lane.record()
        lane.copy(slot[: layout.nbytes], source[: layout.nbytes])
        arrived = lane.record()
        if copy.home_device == "disk" and bounce is not None:
            bounce.left(arrived)
        return moved, began, arrived

    def hand_out(self, staged: Staged) -> Staged:
        """Wait for what the host must wait for, let the device wait for the rest; a read error is raised here."""
        if staged.arrived is not None:
            self.runtime.hold(staged.copy.exec_device, staged.arrived)
        return _arrived(staged)

    def give_back(self, staged: Staged) -> None:
        """Remember until when the device computes with the slot."""
        device = staged.copy.exec_device
        if device != "cpu":
            self._used[device, staged.copy.slot] = self.runtime.mark(device)

    def synchronize(self) -> None:
        """Wait until no copy is on its way to a GPU."""
        for lane in self._lanes.values():
            lane.synchronize()


class _Bounce:
    """Pinned buffers between a disk and a GPU, in turn: one is read into while the other is copied."""

    def __init__(self, runtime: Runtime, size: int) -> None:
        self._buffers = [runtime.pinned(size) for _ in range(BOUNCE_BUFFERS)]
        self._left: list[Event | None] = [None] * BOUNCE_BUFFERS
        self._turn = 0
        self.nbytes = size * BOUNCE_BUFFERS

    def next(self) -> Tensor:
        """Return the next buffer once what was copied from it has left."""
        self._turn = (self._turn + 1) % BOUNCE_BUFFERS
        left = self._left[self._turn]
        if left is not None:
            left.synchronize()
        return self._buffers[self._turn]

    def left(self, event: Event) -> None:
        """Say when the copy from the buffer that was given last has left it."""
        self._left[self._turn] = event


def _arrived(staged: Staged) -> Staged:
    """Wait for the block's last piece and return it with the time of that; a read error is raised here."""
    if staged.pending is None:
        return staged
    staged.pending.wait()
    start, end = staged.pending.started_seconds, staged.pending.finished_seconds
    return replace(staged, record=replace(staged.record, start_seconds=start, end_seconds=end), pending=None)


class SequentialCopies:
    """Copies each block when it is asked for; nothing overlaps."""

    def __init__(self, schedule: Schedule, pool: SlotPool) -> None:
        self.pool, self._copies = pool, {copy.block: copy for copy in schedule.copies}

    def take(self, block: str) -> Staged:
        """Return the staged block."""
        return self.pool.hand_out(self.pool.request(self._copies[block], time.monotonic))

    def skip(self, block: str) -> None:
        """Leave out the next copy, of a block that this pass does not need."""

    def release(self, staged: Staged) -> None:
        """Give the slot back."""
        self.pool.give_back(staged)

    def close(self) -> None:
        """Wait for what is on its way into the slots."""
        self.pool.synchronize()


class PrefetchingCopies:
    """Asks for copies ahead, cyclically, as far as free slots allow; each exec device has a thread for its own."""

    def __init__(self, schedule: Schedule, pool: SlotPool) -> None:
        self.pool = pool
        self._device = {copy.block: copy.exec_device for copy in schedule.copies}
        self._ahead = {
            device: _Prefetcher([c for c in schedule.copies if c.exec_device == device], pool)
            for device in dict.fromkeys(self._device.values())
        }

    def take(self, block: str) -> Staged:
        """Return the staged block, waiting for its copy; a read error is raised here, now and ever after."""
        return self._ahead[self._device[block]].take(block)

    def skip(self, block: str) -> None:
        """Let the next copy pass unused: the reader was ahead of the router."""
        self.release(self.take(block))

    def release(self, staged: Staged) -> None:
        """Give the slot back to the reader."""
        self._ahead[staged.copy.exec_device].release(staged)

    def close(self) -> None:
        """Stop the threads and wait for what is on its way into the slots."""
        for prefetcher in self._ahead.values():
            prefetcher.close()
        self.pool.synchronize()


class _Prefetcher:
    """One exec device's copies in the schedule's order; slots are taken in turn, over the borders of passes too."""

    def __init__(self, copies: Sequence[Copy], pool: SlotPool) -> None:
        self.pool, self._copies = pool, copies
        self._slots = len({copy.slot for copy in copies})
        self._free = threading.Semaphore(self._slots)
        self._ready: queue.SimpleQueue[Staged | BaseException] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="llmdist-prefetch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for turn, copy in enumerate(itertools.cycle(self._copies)):
                self._free.acquire()
                if self._stopping.is_set():
                    return
                self._ready.put(self.pool.request(replace(copy, slot=turn % self._slots), time.monotonic))
        except BaseException as error:  # handed to the thread that computes
            self._ready.put(error)

    def take(self, block: str) -> Staged:
        if self._failure is not None:
            raise self._failure
        try:
            staged = self._ready.get()
            if isinstance(staged, BaseException):
                raise staged
            staged = self.pool.hand_out(staged)
        except BaseException as error:
            self._failure = error
            raise
        assert staged.copy.block == block, f"schedule gives {staged.copy.block}, compute wants {block}"
        return staged

    def release(self, staged: Staged) -> None:
        self.pool.give_back(staged)
        self._free.release()

    def close(self) -> None:
        self._stopping.set()
        self._free.release()
        self._thread.join()
        while not self._ready.empty():
            left = self._ready.get()
            if isinstance(left, Staged) and left.pending is not None:
                with suppress(Exception):
                    left.pending.wait()
