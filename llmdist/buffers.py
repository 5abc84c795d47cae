"""Memory that weights lie in: page-aligned, in large pages where the system has them, given back at once."""

from __future__ import annotations

import contextlib
import mmap

import torch
from torch import Tensor

__all__ = ["aligned_buffer"]

#: From so many bytes on at least one large page fits in whatever the start is.
_LARGE = 4 << 20


def aligned_buffer(nbytes: int) -> Tensor:
    """Return page-aligned zeroed memory, uint8, that goes back to the system when the tensor ends.

    It is private to this process: Linux gives shared memory, Python's default, no large pages unless it is told to,
    and with pages of 4 KiB a core reads weights a tenth slower.
    """
    if nbytes == 0:
        return torch.empty(0, dtype=torch.uint8)
    if not hasattr(mmap, "MAP_PRIVATE"):
        return torch.frombuffer(mmap.mmap(-1, nbytes), dtype=torch.uint8)
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if nbytes >= _LARGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # not every kernel has them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8)
