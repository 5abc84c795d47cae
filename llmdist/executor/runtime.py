"""What the executor asks of the devices: whether they are there, pinned memory, kernels. All that is CUDA is behind it.

The tests put a runtime in this place that computes on the CPU. `CudaRuntime` has not yet run on a device.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from ..kernels.cuda_module import CudaModule, KernelModule, require_cuda
from ..kernels.instances import Instance
from ..model.reader import aligned_buffer

__all__ = ["CudaRuntime", "Runtime"]


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


class CudaRuntime:
    """torch.cuda; ``cpu`` passes through, so that one executor serves every placement."""

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
