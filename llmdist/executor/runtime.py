"""What the executor asks of the devices: memory, streams, events, copies, kernels. All that is CUDA is behind it.

Streams have names, ``cuda:0 compute`` and ``cuda:0 copy``; an event is made by `record` and given to `wait`. The tests
put a runtime in this place that computes on the CPU and keeps vector clocks. `CudaRuntime` has not yet run on a device.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from ..kernels.cuda_module import CudaModule, KernelModule, require_cuda
from ..kernels.instances import Instance
from ..model.reader import aligned_buffer

__all__ = ["CudaRuntime", "Memory", "Runtime", "Work"]


@dataclass(frozen=True, slots=True)
class Memory:
    """A tensor with the name by which an order of operations is checked."""

    name: str
    tensor: Tensor


@dataclass(frozen=True, slots=True)
class Work:
    """What one queued operation is: its kind and block, and the names of what it reads and writes."""

    kind: str
    subject: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


class Runtime(Protocol):
    """The seam between the executor and the devices."""

    def require(self, device: str) -> None:
        """Raise HardwareError in one sentence when `device` cannot be used."""

    def place(self, device: str) -> torch.device:
        """Return where tensors of `device` are."""
        ...

    def module(self, instances: Sequence[Instance], device: str) -> KernelModule:
        """Return the kernels on `device`."""
        ...

    def multiprocessors(self, device: str) -> int:
        """Return the multiprocessors of `device`."""
        ...

    def pinned(self, nbytes: int) -> Tensor:
        """Return host memory (uint8) of exactly `nbytes` that copies to a device do not wait for."""
        ...

    def buffer(self, nbytes: int, device: str) -> Tensor:
        """Return memory (uint8) of `device`."""
        ...

    def copy(self, stream: str, work: Work, target: Tensor, source: Tensor) -> None:
        """Queue a copy."""

    def note(self, stream: str, work: Work) -> None:
        """Say that what was queued on `stream` since the last call is `work`."""

    def record(self, stream: str, subject: str) -> Any:
        """Return an event behind everything on `stream`."""

    def wait(self, stream: str, event: Any) -> None:
        """Let `stream` (``host``: the calling thread) go on only after `event`."""


class CudaRuntime:
    """torch.cuda; ``cpu`` passes through, so that one executor serves every placement."""

    def __init__(self) -> None:
        self._streams: dict[str, torch.cuda.Stream] = {}

    def require(self, device: str) -> None:
        if device != "cpu":
            require_cuda(device)

    def place(self, device: str) -> torch.device:
        return torch.device(device)

    def module(self, instances: Sequence[Instance], device: str) -> KernelModule:
        return CudaModule(instances, device)

    def multiprocessors(self, device: str) -> int:
        return int(torch.cuda.get_device_properties(device).multi_processor_count)

    def pinned(self, nbytes: int) -> Tensor:
        return _registered(aligned_buffer(nbytes)) if nbytes else aligned_buffer(0)

    def buffer(self, nbytes: int, device: str) -> Tensor:
        return aligned_buffer(nbytes) if device == "cpu" else torch.empty(nbytes, dtype=torch.uint8, device=device)

    def _stream(self, name: str) -> torch.cuda.Stream:
        device, _, kind = name.rpartition(" ")
        if kind == "compute":
            return torch.cuda.current_stream(torch.device(device))
        if name not in self._streams:
            self._streams[name] = torch.cuda.Stream(torch.device(device))
        return self._streams[name]

    def copy(self, stream: str, work: Work, target: Tensor, source: Tensor) -> None:
        with torch.cuda.stream(self._stream(stream)):
            target.copy_(source, non_blocking=True)

    def note(self, stream: str, work: Work) -> None:
        pass

    def record(self, stream: str, subject: str) -> torch.cuda.Event:
        event = torch.cuda.Event()
        event.record(self._stream(stream))
        return event

    def wait(self, stream: str, event: torch.cuda.Event) -> None:
        if stream == "host":
            event.synchronize()
        else:
            self._stream(stream).wait_event(event)


def _registered(buffer: Tensor) -> Tensor:
    """Pin `buffer` where it lies; a system that refuses is said once, and copies then wait for each other."""
    address, runtime = buffer.data_ptr(), torch.cuda.cudart()
    status = int(runtime.cudaHostRegister(address, buffer.nbytes, 0))
    if status:
        _warn_unpinned(status)
    else:
        weakref.finalize(buffer.untyped_storage(), runtime.cudaHostUnregister, address)
    return buffer


@cache
def _warn_unpinned(status: int) -> None:
    warnings.warn(
        f"The system pins no more host memory (CUDA error {status}): weights in RAM are copied to the GPU without "
        "overlap; keep fewer blocks in RAM or raise the limit of locked memory (ulimit -l).",
        stacklevel=4,
    )
