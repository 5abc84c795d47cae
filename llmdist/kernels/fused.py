"""Decoding one token per sequence with the fused kernels, everything resident on one device.

It takes plain Llama-like models (`ModelConfig.is_plain`) and any `KernelModule`: on a GPU the CUDA module, in tests the
host build. All buffers are allocated once and positions live on the device, so that a step can be captured as a CUDA
graph. What this is not: prefill, which goes through the plain layers, or streaming.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ModelError
from ..model.config import ModelConfig
from ..model.rope import inverse_frequencies, table_scale
from . import launch
from .cuda.packing import PackedMatrix, pack
from .cuda_module import KernelModule
from .instances import ACTIVATIONS, FORMATS, HEAD_DIMS, Instance
from .launch import Attention

__all__ = ["FusedAttention", "FusedDecoder", "FusedHead", "FusedMlp", "check_fused", "instances_of"]

Weights = Mapping[str, Tensor]
_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16"}


def check_fused(config: ModelConfig) -> None:
    """Raise ModelError when the fused kernels do not compute the model."""
    if not config.is_plain or config.head_dim not in HEAD_DIMS or table_scale(config.ropes[0]) != 1.0:
        raise ModelError(
            f"The fused CUDA kernels compute Llama-like layers with head_dim {', '.join(map(str, HEAD_DIMS))}; "
            f"this {config.family} model has head_dim {config.head_dim} or layers of another kind: "
            "run it through the plain layers."
        )


def instances_of(
    config: ModelConfig, dtype: torch.dtype, weight_format: str, shape: Attention, batch: int
) -> list[Instance]:
    """Return the instances that a `FusedDecoder` with these sizes launches."""
    kind, form = ACTIVATIONS[_NAMES[dtype]], FORMATS[weight_format]
    tiles = str(next(t for t in (1, 2, 4) if t * 8 >= batch))
    fused = "true" if batch == 1 else "false"
    inputs = {config.num_heads * config.head_dim, config.intermediate_size}
    found = {Instance(k, (kind, form, tiles, fused)) for k in ("norm_qkv", "norm_gateup_swiglu")}
    found |= {Instance("residual_gemv", (kind, form, tiles, launch.staged(batch, columns))) for columns in inputs}
    found |= {Instance("lm_head", (kind, "Dense", tiles, fused)), Instance("begin_step", (kind,))}
    size = str(config.head_dim)
    found |= {Instance("rope_append", (kind, size)), Instance("combine", (kind, size))}
    found.add(Instance("flash_decode", (kind, size, str(shape.query_tile))))
    if batch > 1:
        found.add(Instance("rms_norm", (kind,)))
    return sorted(found)


@dataclass(frozen=True, slots=True)
class FusedAttention:
    """One attention block: the norm, q, k and v stacked, o, and what norms and biases it has."""

    norm: Tensor
    qkv: PackedMatrix
    qkv_bias: Tensor | None
    head_norms: tuple[Tensor, Tensor] | None
    o: PackedMatrix
    o_bias: Tensor | None

    @classmethod
    def of(cls, w: Weights, weight_format: str, dtype: torch.dtype) -> FusedAttention:
        """Pack the block's plain weights."""
        bias = torch.cat([w[f"{part}_bias"] for part in "qkv"]).to(dtype) if "q_bias" in w else None
        norms = (w["q_norm"].to(dtype), w["k_norm"].to(dtype)) if "q_norm" in w else None
        stacked = pack(torch.cat([w[part] for part in "qkv"]), weight_format, dtype)
        o_bias = w["o_bias"].to(dtype) if "o_bias" in w else None
        return cls(w["input_norm"].to(dtype), stacked, bias, norms, pack(w["o"], weight_format, dtype), o_bias)


@dataclass(frozen=True, slots=True)
class FusedMlp:
    """One MLP block: the norm, gate above up, down."""

    norm: Tensor
    gate_up: PackedMatrix
    down: PackedMatrix

    @classmethod
    def of(cls, w: Weights, weight_format: str, dtype: torch.dtype) -> FusedMlp:
        """Pack the block's plain weights."""
        gate_up = pack(torch.cat((w["gate"], w["up"])), weight_format, dtype)
        return cls(w["post_norm"].to(dtype), gate_up, pack(w["down"], weight_format, dtype))


@dataclass(frozen=True, slots=True)
class FusedHead:
    """The final norm and the head, which keeps the activations' type at every precision."""

    norm: Tensor
    matrix: PackedMatrix

    @classmethod
    def of(cls, w: Weights, dtype: torch.dtype) -> FusedHead:
        """Pack the head's plain weights."""
        return cls(w["norm"].to(dtype), pack(w["lm_head"], "dense", dtype))


class FusedDecoder:
    """The buffers and the launches of one step.

    `layers` are pairs of packed blocks, `embedding` (vocab_size, hidden) in the activations' type, `cache` keys and
    values (batch, kv_heads, capacity, head_dim) per layer: the tensors that the plain attention writes in prefill.
    """

    def __init__(
        self, config: ModelConfig, module: KernelModule, shape: Attention,
        layers: list[tuple[FusedAttention, FusedMlp]], head: FusedHead, embedding: Tensor,
        cache: list[tuple[Tensor, Tensor]],
    ) -> None:  # fmt: skip
        check_fused(config)
        self.config, self.module, self.shape = config, module, shape
        self.layers, self.head, self.embedding, self.cache = layers, head, embedding, cache
        batch, dtype, device = len(cache[0][0]), embedding.dtype, embedding.device
        row, heads = (batch, shape.heads, shape.splits), (batch, shape.heads, shape.head_dim)

        def buffer(*size: int, kind: torch.dtype = dtype) -> Tensor:
            return torch.empty(size, dtype=kind, device=device)

        self.tokens = torch.zeros(batch, dtype=torch.int64, device=device)
        self.positions = torch.zeros(batch, dtype=torch.int32, device=device)
        self._speeds = inverse_frequencies(config.ropes[0]).to(device)
        half = shape.head_dim // 2
        self._angles = buffer(batch, half, kind=torch.float32), buffer(batch, half, kind=torch.float32)
        self._x, self._normed = buffer(batch, config.hidden_size), buffer(batch, config.hidden_size)
        self._qkv, self._query, self._mixed = buffer(batch, shape.row), buffer(*heads), buffer(*heads)
        self._gated = buffer(batch, config.intermediate_size)
        sizes = ((*row, shape.head_dim), row, row)
        self._partial = tuple(buffer(*size, kind=torch.float32) for size in sizes)
        self.logits = buffer(batch, config.vocab_size, kind=torch.float32)

    def queue(self) -> None:
        """Queue one step of `tokens` at `positions`; `logits` (batch, vocab_size) float32 holds the result."""
        cosines, sines = self._angles
        launch.begin_step(
            self.module, self.tokens, self.positions, self.embedding, self._speeds, self._x, cosines, sines
        )
        for (attention, mlp), cache in zip(self.layers, self.cache, strict=True):
            self._attention(attention, cache)
            self._mlp(mlp)
        eps = self.config.rms_norm_eps
        launch.lm_head(self.module, self._x, self.head.norm, self.head.matrix, self.logits, self._normed, eps)

    def _attention(self, block: FusedAttention, cache: tuple[Tensor, Tensor]) -> None:
        eps, module, shape, x = self.config.rms_norm_eps, self.module, self.shape, self._x
        mixes, maxima, sums = self._partial
        launch.norm_qkv(module, x, block.norm, block.qkv, block.qkv_bias, self._qkv, self._normed, eps)
        launch.rope_append(
            module, shape, self._qkv, self._angles, self.positions, block.head_norms, self._query, cache, eps
        )
        launch.flash_decode(module, shape, self._query, cache, self.positions, (mixes, maxima, sums), self._mixed)
        launch.residual_gemv(module, self._mixed.view(len(x), -1), block.o, block.o_bias, x, x)

    def _mlp(self, block: FusedMlp) -> None:
        eps, module, x = self.config.rms_norm_eps, self.module, self._x
        launch.norm_gateup_swiglu(module, x, block.norm, block.gate_up, self._gated, self._normed, eps)
        launch.residual_gemv(module, self._gated, block.down, None, x, x)
