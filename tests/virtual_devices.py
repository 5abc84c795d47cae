"""A runtime whose GPUs are the CPU: real bytes and the real kernels' host build, and a log of every stream."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent / "kernels"))

from shim import COMPILER, HostModule, build

from llmdist.executor.runtime import Work
from llmdist.executor.stream_program import Operation, StreamProgram
from llmdist.kernels.instances import Instance
from llmdist.model.reader import aligned_buffer


class LazyModule(HostModule):
    """Builds an instance at its first launch: a model needs few of those that a device compiles together."""

    def run(self, launch) -> None:
        if not self.has(launch.instance):
            with tempfile.TemporaryDirectory() as folder:
                self.add(build([launch.instance], Path(folder)))
        super().run(launch)


class VirtualRuntime:
    """Every device is the CPU; operations are done as they are queued, and kept with their streams and events."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.modules: dict[str, LazyModule] = {}
        self.pinned_bytes = self.device_bytes = self.copied_bytes = 0
        self.token = 0

    def require(self, device: str) -> None:
        pass

    def place(self, device: str) -> torch.device:
        return torch.device("cpu")

    def module(self, instances: Sequence[Instance], device: str) -> LazyModule:
        self.compiled = set(instances)
        return self.modules.setdefault(device, LazyModule({}))

    def multiprocessors(self, device: str) -> int:
        return 4

    def pinned(self, nbytes: int) -> Tensor:
        self.pinned_bytes += nbytes
        return aligned_buffer(nbytes)

    def buffer(self, nbytes: int, device: str) -> Tensor:
        self.device_bytes += nbytes if device != "cpu" else 0
        return aligned_buffer(nbytes)

    def copy(self, stream: str, work: Work, target: Tensor, source: Tensor) -> None:
        target.copy_(source)
        self.copied_bytes += target.nbytes
        self.note(stream, work)

    def note(self, stream: str, work: Work) -> None:
        self.operations.append(Operation(work.kind, stream, work.subject, self.token, work.reads, work.writes))

    def record(self, stream: str, subject: str) -> str:
        event = f"{subject} #{len(self.operations)}"
        self.operations.append(Operation("record", stream, event, self.token))
        return event

    def wait(self, stream: str, event: str) -> None:
        self.operations.append(Operation("wait", stream, event, self.token))

    def program(self) -> StreamProgram:
        """Return what was queued."""
        return StreamProgram(tuple(self.operations), self.token + 1)


COMPILED = pytest.mark.skipif(COMPILER is None, reason="no g++ found: the kernels' host build needs one")
