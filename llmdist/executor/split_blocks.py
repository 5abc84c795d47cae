"""MLP blocks whose neurons two devices share: a GPU computes the first ones, its CPU the rest at the same time.

The CPU's part rests in host memory in the CPU's own layout. What it adds crosses back once per block: the activations
go to pinned memory before the GPU's part is asked for, and the host computes while the GPU does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil

import torch
from torch import Tensor

from ..buffers import aligned_buffer
from ..cost.workspace import CHUNK_TOKENS
from ..kernels.cpu import Weight
from ..kernels.cuda.packing import CHUNK_COLUMNS
from ..model.checkpoint import Checkpoint, TensorEntry
from ..model.layers import Rope, mlp_share
from ..model.reader import Reader
from ..model.slices import neurons
from ..planner.placement import EIGHTHS, Assignment, Placement
from .arrivals import Arrivals
from .device_layout import KERNEL_FORMATS
from .fused import FusedBlocks
from .packed_blocks import PackedBlocks
from .runtime import Runtime
from .weights import BlockLayout

__all__ = ["SplitBlocks", "own_layout", "own_neurons"]


def own_neurons(inner: int, cpu_eighths: int, precision: str) -> int:
    """Return how many of `inner` neurons a device keeps that leaves `cpu_eighths` of them to its CPU.

    Never more than the plan counts for it, as far as both have some; cut where the kernels' chunks of columns end.
    """
    grain = CHUNK_COLUMNS[KERNEL_FORMATS.get(precision, "dense")]
    given = ceil(inner * cpu_eighths / EIGHTHS / grain) * grain
    return inner - given if 0 < given < inner else max(1, inner // 2)


def own_layout(entries: Mapping[str, TensorEntry], choice: Assignment) -> BlockLayout:
    """Return the layout of what of a block its exec device computes: all of it, if it is not split."""
    return _layouts(entries, choice)[0] if choice.cpu_eighths else BlockLayout.of(entries, choice.precision)


def _layouts(entries: Mapping[str, TensorEntry], choice: Assignment) -> list[BlockLayout]:
    """Return the layouts of the device's part of a split block and of its CPU's."""
    inner = entries["gate"].shape[0]
    own = own_neurons(inner, choice.cpu_eighths, choice.precision)
    return [
        replace(BlockLayout.of(neurons(entries, first, last), choice.precision), part=f"neurons-{first}-{last}")
        for first, last in ((0, own), (own, inner))
    ]


class SplitBlocks:
    """The CPU's parts of one placement's split blocks."""

    def __init__(self, checkpoint: Checkpoint, runtime: Runtime, packed: PackedBlocks, reader: Reader) -> None:
        self._checkpoint, self._runtime, self._packed, self._reader = checkpoint, runtime, packed, reader
        self._choices: dict[str, Assignment] = {}
        self._layouts: dict[str, BlockLayout] = {}
        self._buffers: dict[str, Tensor] = {}
        self._views: dict[str, Mapping[str, Weight]] = {}
        self._fused = FusedBlocks(checkpoint.config)
        self._wire: dict[tuple[str, torch.dtype], tuple[Tensor, Tensor]] = {}

    def leave(self, placement: Placement) -> None:
        """Free the parts that `placement` does not have."""
        self._fused.clear()
        self._views.clear()
        for name in [n for n, choice in self._choices.items() if not _same(placement[n], choice)]:
            del self._choices[name], self._layouts[name], self._buffers[name]

    def coming(self, placement: Placement) -> dict[str, BlockLayout]:
        """Return the layouts of the parts that are to be read."""
        found = {}
        for name, choice in placement.items():
            if choice.cpu_eighths and name not in self._buffers:
                _, layout = _layouts(self._checkpoint.block_tensors(name), choice)
                found[name] = self._packed.located(name, choice.precision, layout)
        return found

    def bring(self, placement: Placement, layouts: Mapping[str, BlockLayout], arrivals: Arrivals) -> None:
        """Read the parts of `coming`."""
        for name, layout in layouts.items():
            choice, buffer = placement[name], aligned_buffer(layout.nbytes)
            made = self._packed.fill(name, choice.precision, layout, buffer, self._reader)
            self._choices[name], self._layouts[name], self._buffers[name] = choice, layout, buffer
            arrivals.arrived(layout.nbytes, choice.precision if made else "", not self._packed.note)
        self._views = {name: self._layouts[name].views(buffer) for name, buffer in self._buffers.items()}

    def __contains__(self, block: str) -> bool:
        return block in self._choices

    @property
    def nbytes(self) -> int:
        """Return the bytes of weights."""
        return sum(buffer.nbytes for buffer in self._buffers.values())

    @torch.inference_mode()
    def compute(self, name: str, device: str, x: Tensor, rope: Rope, own: Callable[[Tensor], Tensor]) -> Tensor:
        """Return `x` (batch, tokens, hidden) on `device` plus the whole MLP; `own` adds the device's part.

        `own` is called with `x` between the copy of `x` to the host and the host's computing, and must only queue.
        """
        out, back = self._buffers_for(device, x)
        out.copy_(x, non_blocking=True)
        sent = self._runtime.mark(device)
        result = own(x)
        sent.synchronize()
        back.copy_(self._share(name, out, rope))
        result += back.to(result.device, non_blocking=True)
        return result

    def _buffers_for(self, device: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return pinned host memory like `x`, for the way there and back; it is free when a block asks for it."""
        size = max(x.numel(), CHUNK_TOKENS * x.shape[-1])
        if (device, x.dtype) not in self._wire or self._wire[device, x.dtype][0].numel() < size:
            there, back = (self._runtime.pinned(size * x.element_size()).view(x.dtype) for _ in range(2))
            self._wire[device, x.dtype] = there, back
        there, back = self._wire[device, x.dtype]
        return there[: x.numel()].view(x.shape), back[: x.numel()].view(x.shape)

    def _share(self, name: str, x: Tensor, rope: Rope) -> Tensor:
        """Return what the CPU's neurons add to `x`, float32 where the compiled call computes it."""
        weights, wide = self._views[name], x.float()
        fused = self._fused.compute(name, "cpu", weights, wide.clone(), rope, None, 0)
        return mlp_share(self._checkpoint.config, weights, x) if fused is None else fused - wide

    def close(self) -> None:
        """Free the weights."""
        self._fused.clear()
        for kept in (self._views, self._buffers, self._layouts, self._choices, self._wire):
            kept.clear()


def _same(choice: Assignment, before: Assignment) -> bool:
    return (choice.cpu_eighths, choice.precision) == (before.cpu_eighths, before.precision)
