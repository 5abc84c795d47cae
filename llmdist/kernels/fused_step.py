"""The buffers of one decode step on one device, and the launches of each block, which change `x` where it lies.

All buffers are allocated once; positions and angles live on the device, so that a step can be captured as a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..model.config import ModelConfig
from . import launch
from .cuda_module import KernelModule
from .launch import Attention

if TYPE_CHECKING:
    from .fused import FusedAttention, FusedHead, FusedMlp

__all__ = ["FusedStep"]


class FusedStep:
    """Scratch for `batch` sequences of one token each; `positions` (batch) int32 and `angles` are set by the caller.

    `x` (batch, hidden) holds the tokens between blocks that are asked for together. `angles`: cosines and sines
    (batch, head_dim / 2) float32. `logits` (batch, vocab_size) float32.
    """

    def __init__(
        self, config: ModelConfig, module: KernelModule, shape: Attention, batch: int, dtype: torch.dtype,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.module, self.shape, self.eps = module, shape, config.rms_norm_eps
        self._buffers: list[Tensor] = []

        def buffer(*size: int, kind: torch.dtype = dtype) -> Tensor:
            self._buffers.append(torch.empty(size, dtype=kind, device=device))
            return self._buffers[-1]

        row, half = (batch, shape.heads, shape.splits), shape.head_dim // 2
        self.positions = buffer(batch, kind=torch.int32).zero_()
        self.angles = buffer(batch, half, kind=torch.float32), buffer(batch, half, kind=torch.float32)
        self.x = buffer(batch, config.hidden_size)
        self._normed, self._qkv = buffer(batch, config.hidden_size), buffer(batch, shape.row)
        self._query, self._mixed = (buffer(batch, shape.heads, shape.head_dim) for _ in range(2))
        self._inner = buffer(batch * config.intermediate_size)
        mixes, maxima, sums = (buffer(*size, kind=torch.float32) for size in ((*row, shape.head_dim), row, row))
        self._partial = mixes, maxima, sums
        self.logits = buffer(batch, config.vocab_size, kind=torch.float32)

    @property
    def nbytes(self) -> int:
        """Return the bytes of all buffers."""
        return sum(buffer.nbytes for buffer in self._buffers)

    def place(self, positions: Sequence[int], cosines: Tensor, sines: Tensor) -> None:
        """Set where each sequence's token stands, and its angles (batch or 1, head_dim / 2)."""
        self.positions.copy_(torch.tensor(positions, dtype=torch.int32))
        self.angles[0].copy_(cosines.expand_as(self.angles[0]))
        self.angles[1].copy_(sines.expand_as(self.angles[1]))

    def attention(self, block: FusedAttention, x: Tensor, cache: tuple[Tensor, Tensor]) -> None:
        """Add the block's attention to `x` (batch, hidden); keys and values of the tokens go into `cache`."""
        module, shape, eps = self.module, self.shape, self.eps
        launch.norm_qkv(module, x, block.norm, block.qkv, block.qkv_bias, self._qkv, self._normed, eps)
        launch.rope_append(
            module, shape, self._qkv, self.angles, self.positions, block.head_norms, self._query, cache, eps
        )
        launch.flash_decode(module, shape, self._query, cache, self.positions, self._partial, self._mixed)
        launch.residual_gemv(module, self._mixed.view(len(x), -1), block.o, block.o_bias, x, x)

    def mlp(self, block: FusedMlp, x: Tensor) -> None:
        """Add the block's MLP, or the part of its neurons that `block` holds, to `x` (batch, hidden)."""
        neurons = block.down.columns
        inner = self._inner[: len(x) * neurons].view(len(x), neurons)
        launch.norm_gateup_swiglu(self.module, x, block.norm, block.gate_up, inner, self._normed, self.eps)
        launch.residual_gemv(self.module, inner, block.down, None, x, x)

    def head(self, block: FusedHead, x: Tensor) -> Tensor:
        """Return the logits of `x` (batch, hidden), in this step's buffer."""
        launch.lm_head(self.module, x, block.norm, block.matrix, self.logits, self._normed, self.eps)
        return self.logits
