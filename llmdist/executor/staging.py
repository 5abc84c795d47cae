"""Streamed blocks pass through a few reusable slots: the pool is the only memory that they take.

`SequentialCopies` fills a slot at the moment it is needed (the plain version and the test oracle);
`PrefetchingCopies` fills slots ahead of the compute in a reader thread, across token borders.
Both hand out the blocks in the schedule's order.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..events import CopyFinished
from ..kernels.cpu import Weight
from .schedule import Copy, Schedule
from .weights import BlockLayout, fill

__all__ = ["PrefetchingCopies", "SequentialCopies", "SlotPool", "Staged"]


@dataclass(frozen=True, slots=True)
class Staged:
    """The weights of one streamed block, ready in a slot."""

    copy: Copy
    tensors: Mapping[str, Weight]
    record: CopyFinished


class SlotPool:
    """The staging slots of every exec device, each as large as that device's largest streamed block."""

    def __init__(self, schedule: Schedule, layouts: Mapping[str, BlockLayout], host: Mapping[str, Tensor]) -> None:
        self.layouts, self.host = layouts, host
        sizes: dict[tuple[str, int], int] = {}
        for copy in schedule.copies:
            largest = max(layouts[c.block].nbytes for c in schedule.copies if c.exec_device == copy.exec_device)
            sizes[copy.exec_device, copy.slot] = largest
        self.slots = {key: torch.empty(size, dtype=torch.uint8, device=key[0]) for key, size in sizes.items()}
        through_host = [c for c in schedule.copies if c.home_device == "disk" and c.exec_device != "cpu"]
        largest = max((layouts[c.block].nbytes for c in through_host), default=0)
        self.bounce = torch.empty(largest, dtype=torch.uint8)
        self.nbytes = sum(sizes.values()) + largest

    def bring(self, copy: Copy, clock: Callable[[], float]) -> Staged:
        """Fill the copy's slot from its home and return the block's tensors."""
        start = clock()
        layout, slot = self.layouts[copy.block], self.slots[copy.exec_device, copy.slot]
        if copy.home_device != "disk":
            slot[: layout.nbytes].copy_(self.host[copy.block][: layout.nbytes])
            moved = layout.nbytes
        elif copy.exec_device == "cpu":
            moved = fill(layout, slot)
        else:
            moved = fill(layout, self.bounce)
            slot[: layout.nbytes].copy_(self.bounce[: layout.nbytes])
        record = CopyFinished(copy.block, start, clock(), moved, copy.slot)
        return Staged(copy, layout.views(slot), record)


class SequentialCopies:
    """Copies each block when it is asked for; nothing overlaps."""

    def __init__(self, schedule: Schedule, pool: SlotPool) -> None:
        self.pool, self._copies = pool, {copy.block: copy for copy in schedule.copies}

    def take(self, block: str) -> Staged:
        """Return the staged block."""
        return self.pool.bring(self._copies[block], time.monotonic)

    def skip(self, block: str) -> None:
        """Leave out the next copy, of a block that this pass does not need."""

    def release(self, staged: Staged) -> None:
        """Give the slot back."""

    def close(self) -> None:
        """Release nothing: there is no thread."""


class PrefetchingCopies:
    """Copies ahead in one reader thread, cyclically, as far as free slots allow."""

    def __init__(self, schedule: Schedule, pool: SlotPool) -> None:
        self.pool, self._schedule = pool, schedule
        self._free = {key: threading.Semaphore(1) for key in pool.slots}
        self._ready: queue.SimpleQueue[Staged | BaseException] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="llmdist-reader", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                for copy in self._schedule.copies:
                    self._free[copy.exec_device, copy.slot].acquire()
                    if self._stopping.is_set():
                        return
                    self._ready.put(self.pool.bring(copy, time.monotonic))
        except BaseException as error:  # handed to the thread that computes
            self._ready.put(error)

    def take(self, block: str) -> Staged:
        """Return the staged block, waiting for its copy; a read error is raised here."""
        staged = self._failure or self._ready.get()
        if isinstance(staged, BaseException):
            self._failure = staged
            raise staged
        assert staged.copy.block == block, f"schedule gives {staged.copy.block}, compute wants {block}"
        return staged

    def skip(self, block: str) -> None:
        """Let the next copy pass unused: the reader was ahead of the router."""
        self.release(self.take(block))

    def release(self, staged: Staged) -> None:
        """Give the slot back to the reader."""
        self._free[staged.copy.exec_device, staged.copy.slot].release()

    def close(self) -> None:
        """Stop the reader and wait for it."""
        self._stopping.set()
        for semaphore in self._free.values():
            semaphore.release()
        self._thread.join()
