"""Matrix products on the CPU at the speed of memory: packed weights, a compiled kernel, torch where there is none.

CUDA's kernels have modules of their own (`launch`, `cuda_module`, `nvrtc`), which nothing imports on a machine without.
"""

from .linear import linear, linear_reference
from .packing import PackedMatrix, pack, packed_bytes

__all__ = ["PackedMatrix", "linear", "linear_reference", "pack", "packed_bytes"]
