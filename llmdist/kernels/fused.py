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
from .cuda.packing import PackedMatrix, joined, pack, stacked
from .cuda_module import KernelModule
from .fused_step import FusedStep
from .instances import ACTIVATIONS, FORMATS, HEAD_DIMS, Instance
from .launch import Attention

__all__ = ["FusedAttention", "FusedDecoder", "FusedHead", "FusedMlp", "check_fused", "instances_of", "stored_block"]

Weights = Mapping[str, Tensor]
#: Weights as they lie in a block's buffer: vectors, and matrices plain or packed.
Stored = Mapping[str, Tensor | PackedMatrix]
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


def stored_block(name: str, w: Stored) -> FusedAttention | FusedMlp | FusedHead | None:
    """Return block `name` over its weights where they lie, nothing copied; None where they do not lie so."""
    if name == "head":
        matrix = stacked([w["lm_head"]])
        return None if matrix is None else FusedHead(_plain(w, "norm"), matrix)
    if name.endswith(".mlp"):
        gate_up, down = stacked([w["gate"], w["up"]]), stacked([w["down"]])
        return None if gate_up is None or down is None else FusedMlp(_plain(w, "post_norm"), gate_up, down)
    qkv, o = stacked([w[part] for part in "qkv"]), stacked([w["o"]])
    bias = _joined_bias(w)
    if qkv is None or o is None or (bias is None and "q_bias" in w):
        return None
    norms = (_plain(w, "q_norm"), _plain(w, "k_norm")) if "q_norm" in w else None
    return FusedAttention(_plain(w, "input_norm"), qkv, bias, norms, o, _plain(w, "o_bias") if "o_bias" in w else None)


def _plain(w: Stored, name: str) -> Tensor:
    found = w[name]
    assert isinstance(found, Tensor), f"{name} is a vector"
    return found


def _joined_bias(w: Stored) -> Tensor | None:
    if "q_bias" not in w:
        return None
    return joined([_plain(w, f"{part}_bias") for part in "qkv"])


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
        self.step = FusedStep(config, module, shape, batch, dtype, device)
        self.tokens = torch.zeros(batch, dtype=torch.int64, device=device)
        self.positions, self.logits = self.step.positions, self.step.logits
        self._speeds = inverse_frequencies(config.ropes[0]).to(device)
        self._x = torch.empty(batch, config.hidden_size, dtype=dtype, device=device)

    def queue(self) -> None:
        """Queue one step of `tokens` at `positions`; `logits` (batch, vocab_size) float32 holds the result."""
        step = self.step
        launch.begin_step(self.module, self.tokens, self.positions, self.embedding, self._speeds, self._x, *step.angles)
        for (attention, mlp), cache in zip(self.layers, self.cache, strict=True):
            step.attention(attention, self._x, cache)
            step.mlp(mlp, self._x)
        step.head(self.head, self._x)
