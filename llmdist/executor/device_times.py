"""When GPUs did what they were asked for in one request, on the host's clock.

The host only queues: its own clock would say when work was asked for. Events on the device's streams say when it was
done. A device is idle when a request begins, so its first event happens as the host records it; all others are placed
from there. Blocks that ran as one recording share its time by the bytes that they read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ..events import BlockComputed, CopyFinished
from .runtime import Event, Runtime
from .staging import Staged

__all__ = ["DeviceTimes"]


class DeviceTimes:
    """Collects a request's blocks and copies in order; `computes` and `copies` place them once it has ended."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._anchors: dict[str, tuple[Event, float]] = {}
        self._last: dict[str, Event] = {}
        self._latest = ""  # the device that computed last
        self._computes: list[BlockComputed | tuple[str, Event, Event, Sequence[tuple[str, int]]]] = []
        self._copies: list[Staged | CopyFinished] = []

    def begin(self, device: str) -> Event | float:
        """Return the point before something is computed on `device`: on the CPU simply the time."""
        latest, self._latest = self._latest, device
        if device == "cpu":
            return time.monotonic()
        if device == latest and device in self._last:
            return self._last[device]
        event = self._runtime.mark(device)  # it was idle while another device computed
        self._anchors.setdefault(device, (event, time.monotonic()))
        return event

    def computed(
        self, device: str, began: Event | float, blocks: Sequence[tuple[str, int]], seconds: Sequence[float] = ()
    ) -> None:
        """Take down that the `blocks` (name, bytes read) were computed, or asked for, since `began`.

        On the CPU several take `seconds` each, one after the other; one took until now.
        """
        if isinstance(began, float):
            for (name, _), took in zip(blocks, seconds or (time.monotonic() - began,), strict=True):
                self._computes.append(BlockComputed(name, began, began + took, device))
                began += took
            return
        self._last[device] = self._runtime.mark(device)
        self._computes.append((device, began, self._last[device], blocks))

    def copied(self, copy: Staged | CopyFinished) -> None:
        """Take down a copy whose block was computed."""
        self._copies.append(copy)

    def wait(self) -> None:
        """Wait until every device has done what it was asked for."""
        for event in self._last.values():
            event.synchronize()

    def _at(self, device: str, event: Event) -> float:
        first, seconds = self._anchors[device]
        last = self._last[device]
        return seconds + first.seconds_until(last) - event.seconds_until(last)

    @property
    def computes(self) -> tuple[BlockComputed, ...]:
        """Return the blocks in the order of computing."""
        found: list[BlockComputed] = []
        for one in self._computes:
            if isinstance(one, BlockComputed):
                found.append(one)
                continue
            device, began, ended, blocks = one
            at, end = self._at(device, began), self._at(device, ended)
            left = sum(nbytes for _, nbytes in blocks)
            for name, nbytes in blocks:
                until = at + (end - at) * nbytes / max(1, left)
                found.append(BlockComputed(name, at, until, device))
                at, left = until, left - nbytes
        return tuple(found)

    @property
    def copies(self) -> tuple[CopyFinished, ...]:
        """Return the copies in the order in which their blocks were computed; from a disk the reading belongs to it."""
        return tuple(copy if isinstance(copy, CopyFinished) else self._placed(copy) for copy in self._copies)

    def _placed(self, staged: Staged) -> CopyFinished:
        record, device, began, arrived = staged.record, staged.copy.exec_device, staged.began, staged.arrived
        if began is None or arrived is None:
            return record
        start = record.start_seconds if staged.copy.home_device == "disk" else self._at(device, began)
        return replace(record, start_seconds=start, end_seconds=self._at(device, arrived))
