"""The launchers: each checks its tensors, sizes the grid and hands one `Launch` to a module.

Shapes use vectors (one per sequence), columns and rows of a weight matrix. Every tensor is contiguous, on one
device, of the activations' type unless said otherwise; an error names the tensor, what it is and what was wanted.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LlmdistError
from .cuda.packing import PackedMatrix
from .cuda_module import KernelModule, Launch
from .instances import FORMATS, HEAD_DIMS, QUERY_TILES, VECTOR_TILES, Instance

__all__ = [
    "MAXIMUM_VECTORS",
    "Attention",
    "begin_step",
    "dequantise",
    "flash_decode",
    "lm_head",
    "norm_gateup_swiglu",
    "norm_qkv",
    "residual_gemv",
    "rms_norm",
    "rope_append",
    "staged",
]

_TYPES = {torch.bfloat16: "Bf16", torch.float16: "Fp16"}
_THREADS, _TILE_ROWS, _TILE_VECTORS, _WARPS = 256, 16, 8, 8
_ATTENTION_WARPS = 4
#: A longer input vector is read from the caches: in shared memory it would leave room for too few CTAs.
_STAGED_BYTES = 32 << 10
#: Vectors that one launch multiplies: more go through several, or through `dequantise` and a matrix multiplication.
MAXIMUM_VECTORS = _TILE_VECTORS * VECTOR_TILES[-1]


def _check(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
    if tuple(tensor.shape) != shape or tensor.dtype != dtype or tensor.device != device:
        raise LlmdistError(
            f"{name} has shape {tuple(tensor.shape)}, {tensor.dtype} on {tensor.device}; "
            f"the kernel needs {shape}, {dtype} on {device}."
        )
    if not tensor.is_contiguous():
        raise LlmdistError(f"{name} has strides {tensor.stride()}; the kernel needs it contiguous: copy it first.")


def _activation(name: str, x: Tensor) -> str:
    if x.dtype not in _TYPES:
        raise LlmdistError(f"{name} is {x.dtype}; the kernels compute with bfloat16 or float16 activations.")
    if x.shape[-1] % 8:
        raise LlmdistError(f"{name} has {x.shape[-1]} columns; the kernels load 8 at once and need a multiple of 8.")
    return _TYPES[x.dtype]


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _tiles(vectors: int) -> int:
    if not 1 <= vectors <= MAXIMUM_VECTORS:
        raise LlmdistError(f"{vectors} vectors were given to one launch, which takes 1 to {MAXIMUM_VECTORS}.")
    return next(t for t in VECTOR_TILES if t * _TILE_VECTORS >= vectors)


def _check_matrix(name: str, matrix: PackedMatrix, x: Tensor, columns: int) -> None:
    if matrix.columns != columns:
        raise LlmdistError(f"{name} has {matrix.columns} columns and its input {columns}; they must agree.")
    _check(f"{name}.weight", matrix.weight, (matrix.rows, matrix.chunks * 64), torch.uint8, x.device)
    if matrix.scale is not None:
        _check(f"{name}.scale", matrix.scale, (matrix.rows, matrix.scale.shape[1]), x.dtype, x.device)


def _sums_bytes(matrices: int, tiles: int) -> int:
    return _WARPS * matrices * _TILE_ROWS * tiles * _TILE_VECTORS * 4


def staged(vectors: int, columns: int) -> str:
    """Return ``true`` where `residual_gemv` brings its input into shared memory first, else ``false``."""
    return "true" if vectors == 1 and columns * 2 <= _STAGED_BYTES else "false"


def rms_norm(module: KernelModule, x: Tensor, weight: Tensor, out: Tensor, eps: float) -> None:
    """Write the RMS norm of each row of `x` (vectors, columns) times `weight` (columns) to `out`."""
    vectors, columns = x.shape
    kind = _activation("x", x)
    _check("x", x, (vectors, columns), x.dtype, x.device)
    _check("weight", weight, (columns,), x.dtype, x.device)
    _check("out", out, (vectors, columns), x.dtype, x.device)
    arguments = (*map(_pointer, (x, weight, out)), ctypes.c_int(columns), ctypes.c_float(eps))
    module.run(Launch(Instance("rms_norm", (kind,)), (vectors, 1, 1), _THREADS, _WARPS * 4, arguments))


@dataclass(frozen=True, slots=True)
class _Projection:
    """What the three normed projections share."""

    kernel: str
    matrices: int
    has_bias: bool


def _normed(
    module: KernelModule, projection: _Projection, x: Tensor, norm: Tensor, matrix: PackedMatrix,
    bias: Tensor | None, out: Tensor, normed: Tensor, eps: float,
) -> None:  # fmt: skip
    vectors, columns = x.shape
    kind, tiles = _activation("x", x), _tiles(vectors)
    rows = matrix.rows // projection.matrices
    _check("x", x, (vectors, columns), x.dtype, x.device)
    _check("norm", norm, (columns,), x.dtype, x.device)
    _check_matrix("matrix", matrix, x, columns)
    _check("out", out, (vectors, rows), torch.float32 if projection.kernel == "lm_head" else x.dtype, x.device)
    if bias is not None:
        _check("bias", bias, (rows,), x.dtype, x.device)
    fused = vectors == 1
    if not fused:
        rms_norm(module, x, norm, normed, eps)
    instance = Instance(
        projection.kernel, (kind, FORMATS[matrix.weight_format], str(tiles), "true" if fused else "false")
    )
    shared = _sums_bytes(projection.matrices, tiles) + (columns * 2 if fused else 0)
    pointers = [x if fused else normed, norm, matrix.weight, matrix.scale]
    pointers += [bias] if projection.has_bias else []
    numbers = map(ctypes.c_int, (vectors, columns, rows, matrix.chunks))
    arguments = (*map(_pointer, [*pointers, out]), *numbers, ctypes.c_float(eps))
    module.run(Launch(instance, (-(-rows // _TILE_ROWS), 1, 1), _THREADS, shared, arguments))


def norm_qkv(
    module: KernelModule, x: Tensor, norm: Tensor, matrix: PackedMatrix, bias: Tensor | None,
    out: Tensor, normed: Tensor, eps: float,
) -> None:  # fmt: skip
    """Write norm(`x`) times q, k and v, stacked in `matrix`, plus `bias` to `out` (vectors, rows).

    `normed` (vectors, columns) is scratch; a single vector does not use it.
    """
    _normed(module, _Projection("norm_qkv", 1, True), x, norm, matrix, bias, out, normed, eps)


def norm_gateup_swiglu(
    module: KernelModule, x: Tensor, norm: Tensor, matrix: PackedMatrix, out: Tensor, normed: Tensor, eps: float
) -> None:
    """Write silu(gate) * up of norm(`x`) to `out` (vectors, rows / 2); `matrix` holds gate above up."""
    _normed(module, _Projection("norm_gateup_swiglu", 2, False), x, norm, matrix, None, out, normed, eps)


def lm_head(
    module: KernelModule, x: Tensor, norm: Tensor, matrix: PackedMatrix, out: Tensor, normed: Tensor, eps: float
) -> None:
    """Write the logits of norm(`x`) to `out` (vectors, rows) float32."""
    _normed(module, _Projection("lm_head", 1, False), x, norm, matrix, None, out, normed, eps)


def residual_gemv(
    module: KernelModule, x: Tensor, matrix: PackedMatrix, bias: Tensor | None, residual: Tensor, out: Tensor
) -> None:
    """Write `residual` + (`x` times `matrix` + `bias`) to `out` (vectors, rows); `out` may be `residual`."""
    vectors, columns = x.shape
    kind, tiles = _activation("x", x), _tiles(vectors)
    _check("x", x, (vectors, columns), x.dtype, x.device)
    _check_matrix("matrix", matrix, x, columns)
    for name, tensor in (("residual", residual), ("out", out)):
        _check(name, tensor, (vectors, matrix.rows), x.dtype, x.device)
    if bias is not None:
        _check("bias", bias, (matrix.rows,), x.dtype, x.device)
    pointers = map(_pointer, (x, matrix.weight, matrix.scale, bias, residual, out))
    arguments = (*pointers, *map(ctypes.c_int, (vectors, columns, matrix.rows, matrix.chunks)))
    kinds = (kind, FORMATS[matrix.weight_format], str(tiles), staged(vectors, columns))
    grid = (-(-matrix.rows // _TILE_ROWS), 1, 1)
    shared = _sums_bytes(1, tiles) + (columns * 2 if kinds[-1] == "true" else 0)
    module.run(Launch(Instance("residual_gemv", kinds), grid, _THREADS, shared, arguments))


def begin_step(
    module: KernelModule, tokens: Tensor, positions: Tensor, embedding: Tensor, speeds: Tensor,
    x: Tensor, cosines: Tensor, sines: Tensor,
) -> None:  # fmt: skip
    """Write the rows of `embedding` for `tokens` (batch) int64 to `x`, and the angles of `positions` (batch) int32.

    `speeds` (half) float32 are radians per position; `cosines` and `sines` are (batch, half) float32.
    """
    batch, columns, half = len(tokens), embedding.shape[1], len(speeds)
    kind = _activation("embedding", embedding)
    _check("tokens", tokens, (batch,), torch.int64, x.device)
    _check("positions", positions, (batch,), torch.int32, x.device)
    _check("embedding", embedding, tuple(embedding.shape), x.dtype, x.device)
    _check("speeds", speeds, (half,), torch.float32, x.device)
    _check("x", x, (batch, columns), x.dtype, x.device)
    for name, tensor in (("cosines", cosines), ("sines", sines)):
        _check(name, tensor, (batch, half), torch.float32, x.device)
    pointers = map(_pointer, (tokens, positions, embedding, speeds, x, cosines, sines))
    arguments = (*pointers, ctypes.c_int(columns), ctypes.c_int(half))
    module.run(Launch(Instance("begin_step", (kind,)), (batch, 1, 1), _THREADS, 0, arguments))


@dataclass(frozen=True, slots=True)
class Attention:
    """The shape of one attention, and in how many shares its context is read."""

    heads: int
    kv_heads: int
    head_dim: int
    capacity: int
    splits: int

    def __post_init__(self) -> None:
        if self.head_dim not in HEAD_DIMS or self.heads % self.kv_heads or self.splits < 1:
            raise LlmdistError(
                f"head_dim {self.head_dim}, {self.heads} heads, {self.kv_heads} key heads and {self.splits} splits "
                f"were asked for; the kernels take head_dim {', '.join(map(str, HEAD_DIMS))}, heads in whole groups "
                "and at least one split."
            )

    @property
    def query_tile(self) -> int:
        """Return the heads that one CTA computes."""
        return next((q for q in QUERY_TILES if q >= self.heads // self.kv_heads), QUERY_TILES[-1])

    @property
    def row(self) -> int:
        """Return the elements of q, k and v of one token."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    @staticmethod
    def choose_splits(batch: int, kv_heads: int, capacity: int, multiprocessors: int) -> int:
        """Return the shares of the context: enough CTAs for two on each multiprocessor, 128 tokens each at least."""
        wanted = -(-2 * multiprocessors // (batch * kv_heads))
        return max(1, min(wanted, capacity // 128, 128))


def rope_append(
    module: KernelModule, shape: Attention, qkv: Tensor, angles: tuple[Tensor, Tensor], positions: Tensor,
    norms: tuple[Tensor, Tensor] | None, query: Tensor, cache: tuple[Tensor, Tensor], eps: float,
) -> None:  # fmt: skip
    """Rotate q into `query` (batch, heads, head_dim) and append k and v at `positions` of `cache`.

    `qkv` (batch, row); `angles` cosines and sines (batch, head_dim / 2) float32; `norms` the weights of q's and k's
    norm; `cache` keys and values (batch, kv_heads, capacity, head_dim).
    """
    batch, dtype, device = len(qkv), qkv.dtype, qkv.device
    kind, size = _activation("qkv", qkv), shape.head_dim
    _check("qkv", qkv, (batch, shape.row), dtype, device)
    _check("positions", positions, (batch,), torch.int32, device)
    _check("query", query, (batch, shape.heads, size), dtype, device)
    for name, tensor in zip(("cosines", "sines"), angles, strict=True):
        _check(name, tensor, (batch, size // 2), torch.float32, device)
    for name, tensor in zip(("keys", "values"), cache, strict=True):
        _check(name, tensor, (batch, shape.kv_heads, shape.capacity, size), dtype, device)
    for name, norm in zip(("q_norm", "k_norm"), norms or (), strict=False):
        _check(name, norm, (size,), dtype, device)
    pointers = map(_pointer, (qkv, *angles, positions, *(norms or (None, None)), query, *cache))
    numbers = map(ctypes.c_int, (shape.heads, shape.kv_heads, shape.capacity))
    grid = (shape.heads + 2 * shape.kv_heads, batch, 1)
    arguments = (*pointers, *numbers, ctypes.c_float(eps))
    module.run(Launch(Instance("rope_append", (kind, str(size))), grid, 32, 0, arguments))


def flash_decode(
    module: KernelModule, shape: Attention, query: Tensor, cache: tuple[Tensor, Tensor], positions: Tensor,
    partial: tuple[Tensor, Tensor, Tensor], out: Tensor,
) -> None:  # fmt: skip
    """Write to `out` (batch, heads, head_dim) the attention of `query` over the context up to `positions`.

    `partial`: mixes (batch, heads, splits, head_dim), maxima and sums (batch, heads, splits), float32 scratch.
    """
    batch, dtype, device, size = len(query), query.dtype, query.device, shape.head_dim
    kind = _activation("query", query)
    for name, tensor in (("query", query), ("out", out)):
        _check(name, tensor, (batch, shape.heads, size), dtype, device)
    for name, tensor in zip(("keys", "values"), cache, strict=True):
        _check(name, tensor, (batch, shape.kv_heads, shape.capacity, size), dtype, device)
    _check("positions", positions, (batch,), torch.int32, device)
    row = (batch, shape.heads, shape.splits)
    for name, tensor, wanted in zip(("mixes", "maxima", "sums"), partial, ((*row, size), row, row), strict=True):
        _check(name, tensor, wanted, torch.float32, device)
    tile = shape.query_tile
    streams = _ATTENTION_WARPS * 32 // (8 if size <= 64 else 16 if size <= 128 else 32)
    scale = math.log2(math.e) / math.sqrt(size)
    numbers = map(ctypes.c_int, (shape.heads, shape.kv_heads, shape.capacity, shape.splits))
    arguments = (*map(_pointer, (query, *cache, positions, *partial)), *numbers, ctypes.c_float(scale))
    grid = (shape.splits, shape.kv_heads * -(-shape.heads // shape.kv_heads // tile), batch)
    instance = Instance("flash_decode", (kind, str(size), str(tile)))
    module.run(Launch(instance, grid, _ATTENTION_WARPS * 32, streams * tile * (size + 2) * 4, arguments))
    arguments = (*map(_pointer, (*partial, out)), ctypes.c_int(shape.splits))
    module.run(Launch(Instance("combine", (kind, str(size))), (batch * shape.heads, 1, 1), size, 0, arguments))


def dequantise(module: KernelModule, matrix: PackedMatrix, out: Tensor) -> None:
    """Write the weights of `matrix` to `out` (rows, columns) in the activations' type."""
    kind = _activation("out", out)
    _check_matrix("matrix", matrix, out, out.shape[1])
    _check("out", out, (matrix.rows, matrix.columns), out.dtype, out.device)
    numbers = map(ctypes.c_int, (matrix.rows, matrix.columns, matrix.chunks))
    arguments = (*map(_pointer, (matrix.weight, matrix.scale, out)), *numbers)
    instance = Instance("dequantise", (kind, FORMATS[matrix.weight_format]))
    module.run(Launch(instance, (matrix.rows, 1, 1), _THREADS, 0, arguments))
