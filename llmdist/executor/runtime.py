"""What the executor asks of the devices: are they there, pinned memory, kernels, a lane of copies with its events.

All that is CUDA is behind it.

The tests put a runtime in this place that computes on the CPU.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Protocol, cast

import torch
from torch import Tensor

from ..buffers import aligned_buffer
from ..kernels.cuda_module import CudaModule, KernelModule, recorded, require_cuda
from ..kernels.device_rates import activation_dtype
from ..kernels.instances import Instance

__all__ = ["CudaRuntime", "Event", "Lane", "Runtime"]


class Event(Protocol):
    """A point in what a device was asked to do."""

    def synchronize(self) -> None:
        """Let the host wait until the device has come to it."""

    def seconds_until(self, later: Event) -> float:
        """Return the seconds between two points that the device has passed."""
        ...


class Lane(Protocol):
    """The copies to one device, in order, beside its computing; nothing here waits on the host but `synchronize`."""

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Queue a copy between buffers of the same size (uint8); both must stay until an event after it has passed."""

    def record(self) -> Event:
        """Return the point after the copies queued so far."""
        ...

    def wait(self, event: Event) -> None:
        """Let the copies queued from now on wait for `event`."""

    def synchronize(self) -> None:
        """Let the host wait until every copy has ended."""


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

    def has_bf16(self, device: str) -> bool:
        """Whether `device` computes in bf16."""
        ...

    def pinned(self, nbytes: int) -> Tensor:
        """Return host memory (uint8) of exactly `nbytes` that copies to a device do not wait for."""
        ...

    def lane(self, device: str) -> Lane:
        """Return a new lane of copies to `device`."""
        ...

    def mark(self, device: str) -> Event:
        """Return the point after what `device` was asked to compute so far."""
        ...

    def hold(self, device: str, event: Event) -> None:
        """Let what `device` is asked to compute from now on wait for `event`."""

    def recorded(self, device: str, queue: Callable[[], None]) -> Callable[[], None]:
        """Return what asks `device` at once for all that `queue` asks it for, which is not computed now.

        Every launch of `queue` was made before, and it allocates nothing.
        """
        ...


class CudaRuntime:
    """torch.cuda; ``cpu`` passes through, so that one executor serves every placement."""

    def __init__(self) -> None:
        self._modules: dict[tuple[str, tuple[Instance, ...]], KernelModule] = {}

    def require(self, device: str) -> None:
        if device != "cpu":
            require_cuda(device)

    def place(self, device: str) -> torch.device:
        return torch.device(device)

    def module(self, instances: Sequence[Instance], device: str) -> KernelModule:
        key = device, tuple(instances)
        if key not in self._modules:  # what is loaded stays on the card: moves ask for the same kernels again
            self._modules[key] = CudaModule(instances, device)
        return self._modules[key]

    def multiprocessors(self, device: str) -> int:
        return int(torch.cuda.get_device_properties(device).multi_processor_count)

    def has_bf16(self, device: str) -> bool:
        return device == "cpu" or activation_dtype(torch.device(device)) == torch.bfloat16

    def pinned(self, nbytes: int) -> Tensor:
        return _registered(aligned_buffer(nbytes)) if nbytes else aligned_buffer(0)

    def lane(self, device: str) -> Lane:
        return _CudaLane(device)

    def mark(self, device: str) -> Event:
        return _CudaEvent(torch.cuda.current_stream(device))

    def hold(self, device: str, event: Event) -> None:
        torch.cuda.current_stream(device).wait_event(cast(_CudaEvent, event).event)

    def recorded(self, device: str, queue: Callable[[], None]) -> Callable[[], None]:
        return recorded(device, queue)


class _CudaEvent:
    def __init__(self, stream: torch.cuda.Stream) -> None:
        self.event = torch.cuda.Event(enable_timing=True)
        self.event.record(stream)

    def synchronize(self) -> None:
        self.event.synchronize()

    def seconds_until(self, later: Event) -> float:
        return float(self.event.elapsed_time(cast(_CudaEvent, later).event)) / 1000


class _CudaLane:
    """A stream of its own. Buffers outlive their copies, so the allocator need not be told of the stream."""

    def __init__(self, device: str) -> None:
        # Torch gives out 32 streams of one priority in turn, and recordings take those of the usual one: a copy on a
        # stream that another thread is recording would become a part of the recording.
        self._stream = torch.cuda.Stream(device, priority=-1)
        self._stream.wait_stream(torch.cuda.current_stream(device))  # slots may have been zeroed or used there

    def copy(self, target: Tensor, source: Tensor) -> None:
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)

    def record(self) -> Event:
        return _CudaEvent(self._stream)

    def wait(self, event: Event) -> None:
        self._stream.wait_event(cast(_CudaEvent, event).event)

    def synchronize(self) -> None:
        self._stream.synchronize()


def _registered(buffer: Tensor) -> Tensor:
    """Pin `buffer` where it lies; a system that refuses is said once, and copies then wait for each other."""
    address, runtime = buffer.data_ptr(), torch.cuda.cudart()
    status = int(runtime.cudaHostRegister(address, buffer.nbytes, 0))
    if status:
        with suppress(RuntimeError):  # the refusal stays this thread's last error, which torch's next kernel raises
            torch.ones(1, device="cuda")
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
