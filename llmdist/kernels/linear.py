"""`linear`: activations times weights of any precision, by the fastest way that this machine has.

Plain torch is the definition; `linear_reference` states it for quantised weights. The choice depends on the kind of
weights and the number of tokens, never on the values.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .cpu import Weight, product, unpack_quickly
from .cuda import packing as cuda
from .packing import PANEL, PackedMatrix
from .tune import FEW_TOKENS, choices

__all__ = ["CHUNK_ELEMENTS", "UNPACKED_TOKENS", "linear", "linear_reference"]

_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
#: Up to so many tokens a quantised matrix is multiplied as it lies; beyond, what `tune` found faster decides.
UNPACKED_TOKENS = 32
#: Weights that are dequantised at a time: 8 MiB in bf16.
CHUNK_ELEMENTS = 4 << 20


def linear(x: Tensor, weight: Weight | cuda.PackedMatrix, bias: Tensor | None = None) -> Tensor:
    """Return x (..., columns) times `weight` (rows, columns) transposed, plus `bias`, in the type of `x`.

    On the CPU the kernels round the activations: for int4 to int8 in blocks of 32 (error about 0.6 % of a product's
    norm), for int8 to int16 in blocks of 256 (3e-5), both against the product with `PackedMatrix.dequantise`; for bf16
    and fp16, up to 32 tokens, to fp16 after a power of two per token (2e-4).
    """
    tokens = x.numel() // x.shape[-1]
    if isinstance(weight, cuda.PackedMatrix):
        return linear_reference(x, weight, bias)
    if isinstance(weight, PackedMatrix):
        unpacked = tokens > UNPACKED_TOKENS and x.dtype == torch.bfloat16
        engine = choices()[weight.precision].engine(tokens if unpacked else min(tokens, FEW_TOKENS))
        if weight.data.device.type == "cpu" and engine == "kernel":
            return product(x, weight, bias).to(x.dtype)
        return linear_reference(x, weight, bias)
    plain = weight.device.type == "cpu" and weight.dtype in _NAMES and weight.is_contiguous()
    if plain and choices()[_NAMES[weight.dtype]].engine(tokens) == "kernel":
        return product(x, weight, bias).to(x.dtype)
    return functional.linear(x.to(weight.dtype), weight, bias).to(x.dtype)


def linear_reference(x: Tensor, weight: PackedMatrix | cuda.PackedMatrix, bias: Tensor | None = None) -> Tensor:
    """Return the same by torch alone, dequantising a bounded piece at a time."""
    step = max(PANEL, CHUNK_ELEMENTS // weight.columns // PANEL * PANEL)
    parts = [
        functional.linear(x, _unpacked(weight.rows_between(first, min(weight.rows, first + step)), x.dtype))
        for first in range(0, weight.rows, step)
    ]
    result = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
    return result if bias is None else result + bias.to(x.dtype)


def _unpacked(weight: PackedMatrix | cuda.PackedMatrix, dtype: torch.dtype) -> Tensor:
    return weight.dequantise(dtype) if isinstance(weight, cuda.PackedMatrix) else unpack_quickly(weight, dtype)
