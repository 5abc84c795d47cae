"""Decode steps of blocks on a CUDA device through the fused kernels; everything else is left to `model.layers`.

Nothing is copied: a block's kernels read its buffer, resident or a staging slot. Why a model or block does not run
fused is kept as a sentence in `notes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError
from ..kernels.fused import FusedAttention, FusedHead, FusedMlp, check_fused, instances_of, stored_block
from ..kernels.fused_step import FusedStep
from ..kernels.instances import Instance
from ..kernels.int8_cache import Int8Cache
from ..kernels.launch import MAXIMUM_VECTORS, Attention
from ..model.config import ModelConfig
from ..model.rope import Rope
from ..planner.placement import Placement
from .device_layout import KERNEL_FORMATS, DeviceLayout
from .runtime import Runtime
from .weights import BlockLayout

__all__ = ["DeviceBlocks"]

Fused = FusedAttention | FusedMlp | FusedHead


class DeviceBlocks:
    """The fused blocks of one executor; scratch per device and number of sequences."""

    def __init__(self, config: ModelConfig, runtime: Runtime, context: int, batch: int, dtype: torch.dtype) -> None:
        self._config, self._runtime, self._context, self._batch = config, runtime, context, batch
        self.dtype, self.notes = dtype, dict[str, str]()
        self._modules: dict[str, Any] = {}
        self._steps: dict[tuple[str, int], tuple[FusedStep, list[Any]]] = {}
        self._blocks: dict[tuple[str, int], Fused | None] = {}

    def adopt(self, placement: Placement) -> None:
        """Compile what the placement's devices need."""
        self.clear()
        for device in sorted({a.exec_device for a in placement.assignments} - {"cpu"}):
            precisions = {a.precision for n, a in placement.items() if a.exec_device == device and n != "embed"}
            formats = frozenset(KERNEL_FORMATS.get(p, "dense") for p in precisions)
            refusal = self._refusal()
            if refusal is None:
                self._modules[device] = self._runtime.module(self._instances(device, formats), device)
            else:
                self.notes[device] = refusal

    def _refusal(self) -> str | None:
        try:
            check_fused(self._config)
        except ModelError as error:
            return str(error)
        if self.dtype not in (torch.bfloat16, torch.float16):
            return f"The fused CUDA kernels compute in bf16 or fp16, and this run is in {self.dtype}: plain layers."
        return None

    def _shape(self, device: str, batch: int) -> Attention:
        config, cores = self._config, self._runtime.multiprocessors(device)
        splits = Attention.choose_splits(batch, config.num_kv_heads, self._context, cores)
        return Attention(config.num_heads, config.num_kv_heads, config.head_dim, self._context, splits)

    def _instances(self, device: str, formats: frozenset[str]) -> list[Instance]:
        """Return the kernels for any number of sequences up to this executor's, in every tile that occurs."""
        found = {Instance("dequantise", (i, f)) for i, f in ((_KIND[self.dtype], _FORM[f]) for f in formats)}
        batches = {b for b in (1, min(8, self._batch), min(16, self._batch), min(32, self._batch)) if b >= 1}
        for batch in batches:
            shape = self._shape(device, batch)
            for weight_format in formats | {"dense"}:
                found |= set(instances_of(self._config, self.dtype, weight_format, shape, batch))
            found |= {
                Instance("lm_head", i.arguments) for i in found if i.kernel == "norm_qkv"
            }
        return sorted(found)

    def layout(self, name: str, device: str, precision: str, layout: BlockLayout) -> BlockLayout:
        """Return the layout in which `device` computes the block; the plain one where it is not fused."""
        module = self._modules.get(device)
        if module is None or precision not in KERNEL_FORMATS or name == "embed":
            return layout
        try:
            return DeviceLayout.over(layout, precision, self.dtype, module)
        except ModelError as error:
            self.notes[name] = str(error)
            return layout

    def compute(
        self, name: str, device: str, weights: Mapping[str, Any], x: Tensor, rope: Rope,
        cache: tuple[Tensor, Tensor] | tuple[Int8Cache, Int8Cache] | None, start: int | tuple[int, ...],
    ) -> Tensor | None:  # fmt: skip
        """Return what block `name` makes of `x` (batch, 1, hidden), which is used up; None where plain layers do.

        For the head `x` is (batch, keep, hidden) and the logits (batch, keep, vocab_size) float32 come back.
        """
        rows = x.numel() // x.shape[-1]
        fits = x.dim() == 3 and x.dtype == self.dtype and rows <= min(MAXIMUM_VECTORS, self._batch)
        if device not in self._modules or not fits or not weights or (name != "head" and x.shape[1] != 1):
            return None
        block = self._block(name, weights)
        if block is None:
            return None
        step, flat = self._step(device, rows, rope, start), x.contiguous().view(rows, -1)
        if isinstance(block, FusedHead):
            return step.head(block, flat).view(*x.shape[:-1], -1).clone()
        if isinstance(block, FusedMlp):
            step.mlp(block, flat)
        else:
            assert cache is not None, f"{name} has no KV cache"
            keys, values = cache
            if not isinstance(keys, Tensor) or not isinstance(values, Tensor):
                self.notes[name] = "The kernels do not read a KV cache in int8: attention runs through plain layers."
                return None
            step.attention(block, flat, (keys, values))
        return flat.view(x.shape)

    def _block(self, name: str, weights: Mapping[str, Any]) -> Fused | None:
        first = next(iter(weights.values()))
        key = name, (first if isinstance(first, Tensor) else first.weight).data_ptr()
        if key not in self._blocks:
            right = all(w.dtype == self.dtype for w in weights.values() if isinstance(w, Tensor))
            self._blocks[key] = stored_block(name, weights) if right else None
            if self._blocks[key] is None:
                self.notes[name] = "Some blocks do not lie as the kernels read them: they run through the plain layers."
        return self._blocks[key]

    def _step(self, device: str, rows: int, rope: Rope, start: int | tuple[int, ...]) -> FusedStep:
        if (device, rows) not in self._steps:
            for old in [key for key in self._steps if key[0] == device][: 1 - _KEPT_STEPS]:
                del self._steps[old]
            shape, place = self._shape(device, rows), self._runtime.place(device)
            step = FusedStep(self._config, self._modules[device], shape, rows, self.dtype, place)
            self._steps[device, rows] = step, []
        step, placed = self._steps[device, rows]
        if placed != [start]:
            cosines, sines = (table.reshape(-1, table.shape[-1]) for table in rope.tables(start, 1))
            step.place(start if isinstance(start, tuple) else (start,) * rows, cosines, sines)
            placed[:] = [start]
        return step

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return why something does not run fused: each sentence once, however many blocks it concerns."""
        return tuple(dict.fromkeys(self.notes.values()))

    @property
    def nbytes(self) -> int:
        """Return the bytes of scratch: a part of the plan's workspace."""
        return sum(step.nbytes for step, _ in self._steps.values())

    def clear(self) -> None:
        """Forget every block and buffer."""
        self._steps.clear()
        self._blocks.clear()
        self._modules.clear()
        self.notes.clear()


_KEPT_STEPS = 2  # per device: what a changing number of sequences leaves behind is bounded
_KIND = {torch.bfloat16: "Bf16", torch.float16: "Fp16"}
_FORM = {"dense": "Dense", "int8": "Int8", "int4g32": "Int4<32>"}
