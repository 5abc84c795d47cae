"""Streamed blocks pass through a few reusable slots: the pool is the only memory that they take.

`SequentialCopies` fills a slot at the moment it is needed (the plain version and the test oracle);
`PrefetchingCopies` asks for blocks ahead of the compute, across token borders, so that the reader always has
work. Both hand out the blocks in the schedule's order.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..events import CopyFinished
from ..kernels.cpu import Weight
from ..model.reader import Pending, Reader, aligned_buffer
from .schedule import Copy, Schedule
from .weights import BlockLayout, fill

__all__ = ["PrefetchingCopies", "SequentialCopies", "SlotPool", "Staged"]


@dataclass(frozen=True, slots=True)
class Staged:
    """The weights of one streamed block in a slot; valid once `pending`, if any, has ended."""

    copy: Copy
    tensors: Mapping[str, Weight]
    record: CopyFinished
    pending: Pending | None = None


class SlotPool:
    """The staging slots of every exec device, each as large as that device's largest streamed block."""

    def __init__(
        self, schedule: Schedule, layouts: Mapping[str, BlockLayout], host: Mapping[str, Tensor], reader: Reader
    ) -> None:
        self.layouts, self.host, self.reader = layouts, host, reader
        sizes: dict[tuple[str, int], int] = {}
        for copy in schedule.copies:
            largest = max(layouts[c.block].nbytes for c in schedule.copies if c.exec_device == copy.exec_device)
            sizes[copy.exec_device, copy.slot] = largest
        self.slots = {key: _slot(key[0], size) for key, size in sizes.items()}
        through_host = [c for c in schedule.copies if c.home_device == "disk" and c.exec_device != "cpu"]
        largest = max((layouts[c.block].nbytes for c in through_host), default=0)
        self.bounce = aligned_buffer(largest)
        self.nbytes = sum(sizes.values()) + largest

    def request(self, copy: Copy, clock: Callable[[], float]) -> Staged:
        """Start to fill the copy's slot; only from disk to the CPU does it end after this returns."""
        start = clock()
        layout, slot = self.layouts[copy.block], self.slots[copy.exec_device, copy.slot]
        pending = None
        if copy.home_device != "disk":
            slot[: layout.nbytes].copy_(self.host[copy.block][: layout.nbytes])
            moved = layout.nbytes
        elif copy.exec_device == "cpu" and not layout.plain:
            moved = fill(layout, slot, self.reader)
        elif copy.exec_device == "cpu":
            moved = layout.file_bytes
            pending = self.reader.submit(layout.parts(slot))
        else:
            moved = fill(layout, self.bounce, self.reader)
            slot[: layout.nbytes].copy_(self.bounce[: layout.nbytes])
        return Staged(copy, layout.views(slot), CopyFinished(copy.block, start, clock(), moved, copy.slot), pending)


def _slot(device: str, size: int) -> Tensor:
    return aligned_buffer(size) if device == "cpu" else torch.empty(size, dtype=torch.uint8, device=device)


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
        return _arrived(self.pool.request(self._copies[block], time.monotonic))

    def skip(self, block: str) -> None:
        """Leave out the next copy, of a block that this pass does not need."""

    def release(self, staged: Staged) -> None:
        """Give the slot back."""

    def close(self) -> None:
        """Release nothing: there is no thread."""


class PrefetchingCopies:
    """Asks for copies ahead in one thread, cyclically, as far as free slots allow."""

    def __init__(self, schedule: Schedule, pool: SlotPool) -> None:
        self.pool, self._schedule = pool, schedule
        self._free = {key: threading.Semaphore(1) for key in pool.slots}
        self._ready: queue.SimpleQueue[Staged | BaseException] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="llmdist-prefetch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                for copy in self._schedule.copies:
                    self._free[copy.exec_device, copy.slot].acquire()
                    if self._stopping.is_set():
                        return
                    self._ready.put(self.pool.request(copy, time.monotonic))
        except BaseException as error:  # handed to the thread that computes
            self._ready.put(error)

    def take(self, block: str) -> Staged:
        """Return the staged block, waiting for its copy; a read error is raised here, now and ever after."""
        if self._failure is not None:
            raise self._failure
        try:
            staged = self._ready.get()
            if isinstance(staged, BaseException):
                raise staged
            staged = _arrived(staged)
        except BaseException as error:
            self._failure = error
            raise
        assert staged.copy.block == block, f"schedule gives {staged.copy.block}, compute wants {block}"
        return staged

    def skip(self, block: str) -> None:
        """Let the next copy pass unused: the reader was ahead of the router."""
        self.release(self.take(block))

    def release(self, staged: Staged) -> None:
        """Give the slot back to the reader."""
        self._free[staged.copy.exec_device, staged.copy.slot].release()

    def close(self) -> None:
        """Stop the thread and wait for what is on its way into the slots."""
        self._stopping.set()
        for semaphore in self._free.values():
            semaphore.release()
        self._thread.join()
        while not self._ready.empty():
            left = self._ready.get()
            if isinstance(left, Staged) and left.pending is not None:
                with suppress(Exception):
                    left.pending.wait()
