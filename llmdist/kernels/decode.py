"""Whole blocks as one call for a few tokens: norm, products, rotation, cache, attention and residual in compiled code.

A decode step is so short that Python between its operators would cost more than the operators. The arguments of a
block are laid out once; a call sets the few that change. `model.layers` is the definition, and computes whatever is
not eligible: another family's layer, another device, many tokens, no compiler.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .cpu import KINDS, MatrixArgument, Weight, kernels, matrix_argument
from .int8_cache import Int8Cache
from .packing import PANEL, PackedMatrix
from .tune import choices

if TYPE_CHECKING:
    from ..model.config import ModelConfig

__all__ = ["FUSED_TOKENS", "FusedAttention", "FusedHead", "FusedMlp", "FusedRun", "fused_block"]

#: More tokens than this (over all sequences) go through `model.layers`, whose attention suits long prompts.
FUSED_TOKENS = 32
_LARGEST_HEAD = 1024


class _Vector(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("kind", ctypes.c_int64))


class _Attention(ctypes.Structure):
    _fields_ = (
        ("qkv", MatrixArgument), ("out", MatrixArgument),
        ("norm", _Vector), ("q_norm", _Vector), ("k_norm", _Vector),
        ("keys", ctypes.c_void_p), ("values", ctypes.c_void_p),
        ("key_scales", ctypes.c_void_p), ("value_scales", ctypes.c_void_p),
        ("cos", ctypes.c_void_p), ("sin", ctypes.c_void_p), ("starts", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in (
            "batch", "tokens", "table_stride", "context", "heads", "kv_heads", "head_dim", "cache_kind"
        )),
        ("eps", ctypes.c_float), ("unused", ctypes.c_float),
    )  # fmt: skip


class _Mlp(ctypes.Structure):
    _fields_ = (
        ("gate_up", MatrixArgument), ("down", MatrixArgument), ("norm", _Vector),
        ("eps", ctypes.c_float), ("unused", ctypes.c_float),
    )  # fmt: skip


class _Head(ctypes.Structure):
    _fields_ = (("lm_head", MatrixArgument), ("norm", _Vector), ("eps", ctypes.c_float), ("unused", ctypes.c_float))


def _vector(weight: Tensor | None) -> _Vector:
    return _Vector(None, 0) if weight is None else _Vector(weight.data_ptr(), KINDS[weight.dtype])


def _bytes(weight: Weight) -> Tensor:
    return weight.data if isinstance(weight, PackedMatrix) else weight


def _adjacent(weights: list[Tensor]) -> bool:
    """Whether the tensors follow each other in memory without a gap."""
    ends = [w.data_ptr() + w.numel() * w.element_size() for w in weights]
    return all(end == after.data_ptr() for end, after in zip(ends, weights[1:], strict=False))


def _joined(w: Mapping[str, Weight], names: tuple[str, ...], suffix: str = "") -> MatrixArgument | None:
    """Return the matrices `names` as one, with their biases; None where they do not lie one after the other."""
    matrices = [w[name] for name in names]
    found = [_tensor(w, f"{name}{suffix}") for name in names] if suffix else []
    biases = [bias for bias in found if bias is not None]
    rows = sum(matrix.shape[0] for matrix in matrices)
    if not _adjacent([_bytes(matrix) for matrix in matrices]) or not _adjacent(biases):
        return None
    if isinstance(matrices[0], PackedMatrix) and any(matrix.shape[0] % PANEL for matrix in matrices[:-1]):
        return None
    if biases and len(biases) != len(names):
        return None
    argument = matrix_argument(matrices[0], biases[0] if biases else None)
    argument.rows = rows
    return argument


class FusedAttention:
    """One attention block over its weights and its whole KV cache."""

    def __init__(
        self, config: ModelConfig, w: Mapping[str, Weight], qkv: MatrixArgument, keys: Tensor | Int8Cache
    ) -> None:
        self._kept = dict(w)
        self._argument = _Attention(
            qkv, _argument(w, "o", "o_bias"), _vector(_tensor(w, "input_norm")), _vector(_tensor(w, "q_norm")),
            _vector(_tensor(w, "k_norm")), heads=config.num_heads, kv_heads=config.num_kv_heads,
            head_dim=config.head_dim, context=keys.shape[2], cache_kind=_cache_kind(keys), eps=config.rms_norm_eps,
        )  # fmt: skip
        self._pointer = ctypes.byref(self._argument)
        loaded = kernels()
        assert loaded is not None
        self._call = loaded.llmdist_attention

    def __call__(
        self, x: Tensor, cos: Tensor, sin: Tensor, keys: Tensor | Int8Cache, values: Tensor | Int8Cache,
        start: int | tuple[int, ...],
    ) -> None:  # fmt: skip
        """Turn `x` (batch, tokens, hidden), float32 and contiguous, into the block's output; see `layers.attention`."""
        self.prepare(x, cos, sin, keys, values, start)
        self._call(self._pointer, ctypes.c_void_p(x.data_ptr()))

    def prepare(
        self, x: Tensor, cos: Tensor, sin: Tensor, keys: Tensor | Int8Cache, values: Tensor | Int8Cache,
        start: int | tuple[int, ...],
    ) -> None:  # fmt: skip
        """Set what changes from pass to pass."""
        batch, tokens, _ = x.shape
        starts = _starts(start, batch)
        argument = self._argument
        argument.keys, argument.key_scales = _pointers(keys)
        argument.values, argument.value_scales = _pointers(values)
        argument.cos, argument.sin = cos.data_ptr(), sin.data_ptr()
        argument.starts = ctypes.addressof(starts)
        argument.batch, argument.tokens = batch, tokens
        argument.table_stride = tokens * cos.shape[-1] if isinstance(start, tuple) else 0

    @property
    def address(self) -> int:
        """Return where the arguments lie."""
        return ctypes.addressof(self._argument)


class FusedMlp:
    """One gated MLP."""

    def __init__(self, config: ModelConfig, w: Mapping[str, Weight], gate_up: MatrixArgument) -> None:
        self._kept = dict(w)
        self._argument = _Mlp(gate_up, _argument(w, "down"), _vector(_tensor(w, "post_norm")), config.rms_norm_eps)
        self._pointer = ctypes.byref(self._argument)
        loaded = kernels()
        assert loaded is not None
        self._call = loaded.llmdist_mlp

    def __call__(self, x: Tensor) -> None:
        """Turn `x` (..., hidden), float32 and contiguous, into the block's output; see `layers.mlp`."""
        rows = x.numel() // x.shape[-1]
        self._call(self._pointer, ctypes.c_void_p(x.data_ptr()), ctypes.c_int64(rows))

    @property
    def address(self) -> int:
        """Return where the arguments lie."""
        return ctypes.addressof(self._argument)


class FusedRun:
    """Blocks that follow each other, in one call.

    Weights that pass drive Python out of the caches, so between two blocks it would start cold: 27 us a block.
    """

    def __init__(self, calls: Sequence[FusedAttention | FusedMlp]) -> None:
        self.calls, self._count = tuple(calls), len(calls)
        self._arguments = (ctypes.c_void_p * self._count)(*(call.address for call in calls))
        self._is_mlp = (ctypes.c_uint8 * self._count)(*(isinstance(call, FusedMlp) for call in calls))
        self._seconds = (ctypes.c_double * self._count)()
        loaded = kernels()
        assert loaded is not None
        self._call = loaded.llmdist_blocks

    def __call__(self, x: Tensor) -> list[float]:
        """Turn `x` (batch, tokens, hidden), float32 and contiguous, into the last block's output.

        Every attention was prepared for it. Returned are the seconds of each block.
        """
        rows = x.numel() // x.shape[-1]
        self._call(self._arguments, self._is_mlp, self._count, x.data_ptr(), rows, self._seconds)
        return list(self._seconds)


class FusedHead:
    """The final norm and lm_head."""

    def __init__(self, config: ModelConfig, w: Mapping[str, Weight]) -> None:
        self._kept, self._vocabulary = dict(w), w["lm_head"].shape[0]
        self._argument = _Head(_argument(w, "lm_head"), _vector(_tensor(w, "norm")), config.rms_norm_eps)
        self._pointer = ctypes.byref(self._argument)
        loaded = kernels()
        assert loaded is not None
        self._call = loaded.llmdist_head

    def __call__(self, x: Tensor) -> Tensor:
        """Return the float32 logits (..., vocab_size) of `x` (..., hidden), float32; see `layers.head`."""
        x = x.contiguous()
        rows = x.numel() // x.shape[-1]
        logits = torch.empty(*x.shape[:-1], self._vocabulary, dtype=torch.float32)
        self._call(
            self._pointer, ctypes.c_void_p(x.data_ptr()), ctypes.c_int64(rows), ctypes.c_void_p(logits.data_ptr())
        )
        return logits


@lru_cache(maxsize=4)
def _starts(start: int | tuple[int, ...], batch: int) -> Any:
    """Return the first positions as the kernels take them; all layers of a pass ask for the same."""
    return (ctypes.c_int64 * batch)(*(start if isinstance(start, tuple) else (start,) * batch))


def _cache_kind(cache: Tensor | Int8Cache) -> int:
    return KINDS["int8" if isinstance(cache, Int8Cache) else cache.dtype]


def _pointers(cache: Tensor | Int8Cache) -> tuple[int, int | None]:
    """Return the addresses of the numbers and of their scales, which a plain cache has not."""
    if isinstance(cache, Int8Cache):
        return cache.values.data_ptr(), cache.scales.data_ptr()
    return cache.data_ptr(), None


def _tensor(w: Mapping[str, Weight], name: str) -> Tensor | None:
    found = w.get(name)
    return found if isinstance(found, Tensor) else None


def _argument(w: Mapping[str, Weight], name: str, bias: str = "") -> MatrixArgument:
    return matrix_argument(w[name], _tensor(w, bias))


def fused_block(
    config: ModelConfig, name: str, w: Mapping[str, Weight], keys: Tensor | Int8Cache | None = None
) -> FusedAttention | FusedMlp | FusedHead | None:
    """Return block `name` as one call over the CPU weights `w`, or None where only `model.layers` computes it."""
    if not config.is_plain or not w or not _eligible(w):
        return None
    if name == "head":
        return FusedHead(config, w)
    if name.endswith(".attention"):
        qkv = _joined(w, ("q", "k", "v"), "_bias")
        known = isinstance(keys, Int8Cache) or getattr(keys, "dtype", None) in KINDS
        fits = config.head_dim <= _LARGEST_HEAD and known
        return FusedAttention(config, w, qkv, keys) if qkv is not None and fits and keys is not None else None
    gate_up = _joined(w, ("gate", "up"))
    return None if gate_up is None else FusedMlp(config, w, gate_up)


def _eligible(w: Mapping[str, Weight]) -> bool:
    """Whether every weight is on the CPU and the kernels of its kind won over torch for a few tokens."""
    names = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
    found = choices()
    for weight in w.values():
        data = _bytes(weight)
        if data.device.type != "cpu" or not data.is_contiguous():
            return False
        kind = weight.precision if isinstance(weight, PackedMatrix) else names.get(weight.dtype, "")
        if kind not in found or (len(weight.shape) == 2 and "torch" in (found[kind].one, found[kind].few)):
            return False
    return True
