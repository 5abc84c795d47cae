"""The compiled CPU kernels seen from Python: one matrix product, called through ctypes.

Weights stay where they are: a kernel gets their address. Activations go in and out as float32. Each token's result is
the same to the bit whatever the number of tokens beside it, so batches and speculation repeat single steps exactly.
"""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from .compile import library
from .packing import PANEL, PackedMatrix, pack, padded_columns

__all__ = [
    "KINDS", "MatrixArgument", "Weight", "kernels", "matrix_argument", "pack_quickly", "product", "unpack_quickly",
]  # fmt: skip

Weight = Tensor | PackedMatrix
KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, "int8": 3, "int4": 4}


class MatrixArgument(ctypes.Structure):
    """`Matrix` of cpu_product.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("padded", ctypes.c_int64),
        ("kind", ctypes.c_int32),
        ("group", ctypes.c_int32),
        ("bias_kind", ctypes.c_int32),
        ("unused", ctypes.c_int32),
    )


@cache
def kernels() -> ctypes.CDLL | None:
    """Return the library with its functions declared, or None; it computes on as many threads as torch does."""
    loaded = library()
    if loaded is None:
        return None
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    loaded.llmdist_product.argtypes = (ctypes.POINTER(MatrixArgument), pointer, count, pointer)
    loaded.llmdist_pack.argtypes = (ctypes.c_int32, pointer, count, count, count, pointer)
    loaded.llmdist_unpack.argtypes = (ctypes.POINTER(MatrixArgument), pointer)
    loaded.llmdist_read.argtypes = (pointer, count, ctypes.c_int32, ctypes.c_int32)
    loaded.llmdist_read.restype = ctypes.c_uint64
    loaded.llmdist_forget.argtypes = (pointer, count)
    loaded.llmdist_scratch_bytes.restype = count
    loaded.llmdist_blocks.argtypes = (pointer, pointer, count, pointer, count, pointer)
    names = (
        "product", "attention", "mlp", "blocks", "head", "pack", "unpack", "threads", "streams", "forget",
        "free_scratch",
    )  # fmt: skip
    for name in names:
        getattr(loaded, f"llmdist_{name}").restype = None
    loaded.llmdist_threads(torch.get_num_threads())
    return loaded


def matrix_argument(weight: Weight, bias: Tensor | None = None) -> MatrixArgument:
    """Return the argument that describes `weight`; the caller keeps the tensors alive."""
    rows, columns = weight.shape[0], weight.shape[1]
    data = weight.data if isinstance(weight, PackedMatrix) else weight
    group = weight.group if isinstance(weight, PackedMatrix) else 1
    return MatrixArgument(
        data.data_ptr(),
        None if bias is None else bias.data_ptr(),
        rows,
        columns,
        padded_columns(columns, group),
        KINDS[weight.precision if isinstance(weight, PackedMatrix) else weight.dtype],
        group,
        0 if bias is None else KINDS[bias.dtype],
        0,
    )


def product(x: Tensor, weight: Weight, bias: Tensor | None = None) -> Tensor:
    """Return x (..., columns) times `weight` (rows, columns) transposed, plus `bias`, as float32 (..., rows)."""
    loaded = kernels()
    assert loaded is not None, "product without a library"
    flat = x.reshape(-1, x.shape[-1]).to(torch.float32).contiguous()
    result = torch.empty(len(flat), weight.shape[0], dtype=torch.float32)
    argument = matrix_argument(weight, bias)
    loaded.llmdist_product(argument, flat.data_ptr(), len(flat), result.data_ptr())
    return result.view(*x.shape[:-1], weight.shape[0])


def pack_quickly(weight: Tensor, precision: str, group: int, out: Tensor) -> PackedMatrix:
    """Return what `packing.pack` returns, to the bit, from float32 `weight`; compiled code where there is some."""
    loaded, (rows, columns) = kernels(), weight.shape
    whole = rows % PANEL == 0 and columns % group == 0
    if loaded is None or not whole or weight.dtype != torch.float32 or not weight.is_contiguous():
        return pack(weight, precision, group, out)
    loaded.llmdist_pack(KINDS[precision], weight.data_ptr(), rows, columns, group, out.data_ptr())
    return PackedMatrix(out, precision, rows, columns, group)


def unpack_quickly(weight: PackedMatrix, dtype: torch.dtype) -> Tensor:
    """Return what `weight.dequantise(dtype)` returns, to the bit; compiled code where there is some."""
    loaded = kernels()
    if loaded is None or dtype != torch.bfloat16 or weight.data.device.type != "cpu" or weight.rows % PANEL:
        return weight.dequantise(dtype)
    result = torch.empty(weight.shape, dtype=torch.bfloat16)
    loaded.llmdist_unpack(matrix_argument(weight), result.data_ptr())
    return result
