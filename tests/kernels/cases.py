"""Inputs of the kernel tests, and the errors that are allowed: a few roundings of the activations' type."""

from __future__ import annotations

import torch
from torch import Tensor

from llmdist.kernels import reference
from llmdist.kernels.cuda.packing import PackedMatrix, pack, unpack
from llmdist.kernels.cuda_module import KernelModule
from llmdist.kernels.launch import (
    Attention,
    flash_decode,
    lm_head,
    norm_gateup_swiglu,
    norm_qkv,
    residual_gemv,
)

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
#: Largest error over the largest result: half a rounding step of the output, and what the inner roundings add.
TOLERANCE = {"bf16": 2**-7, "fp16": 2**-10}
#: The gated product multiplies two rounded factors, and one of them went through two roundings.
ROUNDINGS = {"norm_gateup_swiglu": 2}
EPS = 1e-5


def noise(*shape: int, dtype: torch.dtype, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Return repeatable normal numbers."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return (torch.randn(shape, generator=generator) * scale).to(dtype)


def poisoned(*shape: int, dtype: torch.dtype) -> Tensor:
    """Return an output that holds NaN until a kernel writes it."""
    return torch.full(shape, float("nan"), dtype=dtype)


def error(found: Tensor, wanted: Tensor) -> float:
    """Return the largest difference over the largest wanted value; NaN when an output was not written."""
    return float((found.double() - wanted).abs().max() / wanted.abs().max())


def excess(errors: dict[str, float], name: str) -> dict[str, float]:
    """Return the kernels whose error is above what their roundings allow."""
    return {key: found for key, found in errors.items() if not found < TOLERANCE[name] * ROUNDINGS.get(key, 1)}


def matrix(
    rows: int, columns: int, weight_format: str, dtype: torch.dtype, seed: int = 1
) -> tuple[PackedMatrix, Tensor]:
    """Return a packed matrix and the weights that it stands for."""
    packed = pack(noise(rows, columns, dtype=dtype, seed=seed, scale=columns**-0.5), weight_format, dtype)
    return packed, unpack(packed, dtype)


def projection_errors(
    module: KernelModule, name: str, weight_format: str, vectors: int, rows: int, columns: int
) -> dict[str, float]:
    """Run every projection with one format and return the error of each against float64."""
    dtype = DTYPES[name]
    x, norm = noise(vectors, columns, dtype=dtype), noise(columns, dtype=dtype, seed=2)
    bias, residual = noise(rows, dtype=dtype, seed=3), noise(vectors, rows, dtype=dtype, seed=4)
    packed, weight = matrix(rows, columns, weight_format, dtype)
    stacked, both = matrix(2 * rows, columns, weight_format, dtype, seed=5)
    scratch = poisoned(vectors, columns, dtype=dtype)
    out = {key: poisoned(vectors, rows, dtype=dtype) for key in ("norm_qkv", "gateup", "residual")}
    logits = poisoned(vectors, rows, dtype=torch.float32)
    normed = reference.rms_norm(x, norm, EPS)
    norm_qkv(module, x, norm, packed, bias, out["norm_qkv"], scratch, EPS)
    norm_gateup_swiglu(module, x, norm, stacked, out["gateup"], scratch, EPS)
    lm_head(module, x, norm, packed, logits, scratch, EPS)
    residual_gemv(module, x, packed, bias, residual, out["residual"])
    return {
        "norm_qkv": error(out["norm_qkv"], reference.projection(normed, weight, bias)),
        "norm_gateup_swiglu": error(out["gateup"], reference.gateup_swiglu(normed, both)),
        "lm_head": error(logits, reference.projection(normed, weight)),
        "residual_gemv": error(out["residual"], residual.double() + reference.projection(x, weight, bias)),
    }


def attention_error(module: KernelModule, name: str, shape: Attention, positions: list[int]) -> float:
    """Run flash_decode and combine and return the error against float64; the cache beyond each position is NaN."""
    dtype, batch = DTYPES[name], len(positions)
    query = noise(batch, shape.heads, shape.head_dim, dtype=dtype)
    cache = tuple(noise(batch, shape.kv_heads, shape.capacity, shape.head_dim, dtype=dtype, seed=s) for s in (6, 7))
    for b, position in enumerate(positions):
        for tensor in cache:
            tensor[b, :, position + 1 :] = float("nan")
    row = (batch, shape.heads, shape.splits)
    partial = tuple(poisoned(*size, dtype=torch.float32) for size in ((*row, shape.head_dim), row, row))
    out = poisoned(batch, shape.heads, shape.head_dim, dtype=dtype)
    where = torch.tensor(positions, dtype=torch.int32)
    flash_decode(module, shape, query, (cache[0], cache[1]), where, (partial[0], partial[1], partial[2]), out)
    return error(out, reference.attention(query, cache[0], cache[1], where))
