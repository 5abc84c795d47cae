"""The kernels of a decode step as cases: tensors, launches, bytes read, distance from float64.

A case runs on any module, so the tests run the very same ones on the CPU build. Weights come in several sets that take
turns, so that no cache of a GPU flatters. Timing is not done here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels import launch, reference
from ..kernels.cuda.packing import PackedMatrix, pack, unpack
from ..kernels.cuda_module import KernelModule
from ..kernels.instances import ACTIVATIONS, FORMATS, Instance
from ..kernels.launch import Attention

__all__ = ["Case", "attention_case", "case_instances", "projection_case"]

KERNELS = ("norm_qkv", "norm_gateup_swiglu", "residual_gemv", "lm_head")
_EPS = 1e-5
_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True, slots=True)
class Case:
    """`run(i)` queues one launch (attention: two) with weight set i of `sets`; `nbytes` is what it must read."""

    name: str
    run: Callable[[int], None]
    error: Callable[[], float]
    nbytes: int
    sets: int


def _noise(*size: int, dtype: torch.dtype, device: torch.device, scale: float = 1.0) -> Tensor:
    return (torch.randn(size, device=device) * scale).to(dtype)


def _distance(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).abs().max() / wanted.abs().max())


def case_instances(kernel: str, weight_format: str, dtype: torch.dtype, vectors: int, columns: int) -> list[Instance]:
    """Return the instances that a projection case launches."""
    kind, form = ACTIVATIONS[_NAMES[dtype]], FORMATS[weight_format]
    tiles = str(next(t for t in (1, 2, 4) if t * 8 >= vectors))
    last = launch.staged(vectors, columns) if kernel == "residual_gemv" else "true" if vectors == 1 else "false"
    found = [Instance(kernel, (kind, form, tiles, last))]
    return found if vectors == 1 else [*found, Instance("rms_norm", (kind,))]


def projection_case(
    module: KernelModule, kernel: str, weight_format: str, dtype: torch.dtype, vectors: int, rows: int, columns: int,
    device: torch.device, sets: int = 1,
) -> Case:  # fmt: skip
    """Return a case of one projection of `vectors` activations by a (rows, columns) matrix."""
    stacked = 2 if kernel == "norm_gateup_swiglu" else 1
    x, norm = _noise(vectors, columns, dtype=dtype, device=device), _noise(columns, dtype=dtype, device=device)
    residual = _noise(vectors, rows, dtype=dtype, device=device)
    plain = [_noise(stacked * rows, columns, dtype=dtype, device=device, scale=columns**-0.5) for _ in range(sets)]
    matrices: list[PackedMatrix] = [pack(weight, weight_format, dtype) for weight in plain]
    out = torch.empty(vectors, rows, dtype=torch.float32 if kernel == "lm_head" else dtype, device=device)
    scratch = torch.empty_like(x)

    def run(i: int) -> None:
        matrix = matrices[i]
        if kernel == "norm_qkv":
            launch.norm_qkv(module, x, norm, matrix, None, out, scratch, _EPS)
        elif kernel == "norm_gateup_swiglu":
            launch.norm_gateup_swiglu(module, x, norm, matrix, out, scratch, _EPS)
        elif kernel == "lm_head":
            launch.lm_head(module, x, norm, matrix, out, scratch, _EPS)
        else:
            launch.residual_gemv(module, x, matrix, None, residual, out)

    def error() -> float:
        out.fill_(float("nan"))
        run(0)
        weight = unpack(matrices[0], dtype)
        normed = reference.rms_norm(x, norm, _EPS)
        if kernel == "norm_gateup_swiglu":
            return _distance(out, reference.gateup_swiglu(normed, weight))
        if kernel == "residual_gemv":
            return _distance(out, residual.double() + reference.projection(x, weight))
        return _distance(out, reference.projection(normed, weight))

    name = f"{kernel} {weight_format} {_NAMES[dtype]} {stacked * rows}x{columns} vectors {vectors}"
    return Case(name, run, error, matrices[0].nbytes + x.nbytes + out.nbytes, sets)


def attention_case(
    module: KernelModule, shape: Attention, dtype: torch.dtype, context: int, device: torch.device, sets: int = 1
) -> Case:
    """Return a case of one sequence's attention over `context` tokens."""
    size = (1, shape.kv_heads, shape.capacity, shape.head_dim)
    caches = [tuple(_noise(*size, dtype=dtype, device=device) for _ in range(2)) for _ in range(sets)]
    query = _noise(1, shape.heads, shape.head_dim, dtype=dtype, device=device)
    out, row = torch.empty_like(query), (1, shape.heads, shape.splits)
    parts = [torch.empty(s, dtype=torch.float32, device=device) for s in ((*row, shape.head_dim), row, row)]
    positions = torch.tensor([context - 1], dtype=torch.int32, device=device)

    def run(i: int) -> None:
        cache = caches[i][0], caches[i][1]
        launch.flash_decode(module, shape, query, cache, positions, (parts[0], parts[1], parts[2]), out)

    def error() -> float:
        out.fill_(float("nan"))
        run(0)
        return _distance(out, reference.attention(query, caches[0][0], caches[0][1], positions))

    nbytes = 2 * shape.kv_heads * context * shape.head_dim * dtype.itemsize
    name = f"flash_decode {_NAMES[dtype]} {shape.heads}/{shape.kv_heads} heads of {shape.head_dim}, context {context}"
    return Case(name, run, error, nbytes, sets)
