"""A runtime whose GPUs are the CPU: real bytes and the real kernels' host build.

Copies to a device run as late as they may: when something waits for an event behind them. What was queued is kept as
the operations of a stream program, so that vector clocks can look for races.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent / "kernels"))

from shim import COMPILER, HostModule, build

from llmdist.buffers import aligned_buffer
from llmdist.executor.stream_program import Operation, StreamProgram
from llmdist.kernels.instances import Instance


class LazyModule(HostModule):
    """Builds an instance at its first launch: a model needs few of those that a device compiles together."""

    def run(self, launch) -> None:
        if not self.has(launch.instance):
            with tempfile.TemporaryDirectory() as folder:
                self.add(build([launch.instance], Path(folder)))
        super().run(launch)


class VirtualEvent:
    """A point of a stream; waiting for one of a lane runs the copies before it."""

    def __init__(self, name: str, lane: VirtualLane | None = None, count: int = 0) -> None:
        self.name, self._lane, self._count = name, lane, count
        self._seconds = time.monotonic()

    def seconds_until(self, later: VirtualEvent) -> float:
        return later._seconds - self._seconds

    def synchronize(self) -> None:
        if self._lane is not None:
            self._lane.run(self._count)


class VirtualLane:
    """Copies that wait until they must run."""

    def __init__(self, device: str, log: Log) -> None:
        self.device, self._log = device, log
        self._queued: list[tuple[Tensor, Tensor]] = []
        self._done, self._lock = 0, threading.Lock()

    def copy(self, target: Tensor, source: Tensor) -> None:
        assert target.shape == source.shape
        self._log.add("copy", f"{self.device} copy", reads=(_memory(source),), writes=(_memory(target),))
        with self._lock:
            self._queued.append((target, source))

    def record(self) -> VirtualEvent:
        return VirtualEvent(self._log.event(f"{self.device} copy"), self, len(self._queued))

    def wait(self, event: VirtualEvent) -> None:
        self._log.add("wait", f"{self.device} copy", event.name)
        event.synchronize()

    def run(self, count: int) -> None:
        with self._lock:
            while self._done < count:
                target, source = self._queued[self._done]
                target.copy_(source)
                self._queued[self._done] = (target[:0], source[:0])
                self._done += 1

    def synchronize(self) -> None:
        self.run(len(self._queued))


def _memory(tensor: Tensor) -> str:
    return f"memory {tensor.data_ptr():x}"


class Log:
    """What was queued, in order, from any thread."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._lock, self._events = threading.Lock(), 0

    def add(self, kind: str, stream: str, subject: str = "", **memory: tuple[str, ...]) -> None:
        with self._lock:
            self.operations.append(Operation(kind, stream, subject, 0, **memory))

    def event(self, stream: str) -> str:
        with self._lock:
            self._events += 1
            self.operations.append(Operation("record", stream, f"event {self._events}", 0))
            return f"event {self._events}"

    def program(self) -> StreamProgram:
        """Return it as a program that `races` reads."""
        return StreamProgram(tuple(self.operations), 1)


class VirtualRuntime:
    """Every device is the CPU."""

    def __init__(self) -> None:
        self.modules: dict[str, LazyModule] = {}
        self.log = Log()
        self.recordings = 0

    def require(self, device: str) -> None:
        pass

    def place(self, device: str) -> torch.device:
        return torch.device("cpu")

    def module(self, instances: Sequence[Instance], device: str) -> LazyModule:
        self.compiled = set(instances)
        return self.modules.setdefault(device, LazyModule({}))

    def multiprocessors(self, device: str) -> int:
        return 4

    def has_bf16(self, device: str) -> bool:
        return True

    def pinned(self, nbytes: int) -> Tensor:
        return aligned_buffer(nbytes)

    def lane(self, device: str) -> VirtualLane:
        return VirtualLane(device, self.log)

    def mark(self, device: str) -> VirtualEvent:
        return VirtualEvent(self.log.event(f"{device} compute"))

    def hold(self, device: str, event: VirtualEvent) -> None:
        self.log.add("wait", f"{device} compute", event.name)
        event.synchronize()

    def recorded(self, device: str, queue: Callable[[], None]) -> Callable[[], None]:
        self.recordings += 1
        return queue

    def computes(self, device: str, block: str, slot: Tensor) -> None:
        """Tell the log that `device` reads a slot for `block`; the executor's own calls do not say so."""
        self.log.add("compute", f"{device} compute", block, reads=(_memory(slot),))


COMPILED = pytest.mark.skipif(COMPILER is None, reason="no g++ found: the kernels' host build needs one")
