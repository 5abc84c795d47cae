"""Decode steps of blocks on a CUDA device through the fused kernels; everything else is left to `model.layers`.

Nothing is copied: a block's kernels read its buffer, resident or a staging slot. Blocks that follow each other are
asked for at once: what they launch is recorded at its second use and then replayed, which costs the host one call
instead of seven per layer. Why a model or block does not run fused is kept as a sentence in `notes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import LlmdistError, ModelError
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
Weights = Mapping[str, Any]
KeysAndValues = tuple[Tensor, Tensor] | tuple[Int8Cache, Int8Cache] | None


@dataclass(slots=True)
class _Entry:
    """The buffers of one number of sequences, where their tokens stand, and what was recorded over them."""

    step: FusedStep
    start: int | tuple[int, ...] | None = None
    used: set[tuple[Any, ...]] = field(default_factory=set)
    replays: dict[tuple[Any, ...], Callable[[], None]] = field(default_factory=dict)

    def place(self, start: int | tuple[int, ...], rope: Rope) -> None:
        """Bring the positions to the device, once per token."""
        if self.start == start:
            return
        cosines, sines = (table.reshape(-1, table.shape[-1]) for table in rope.tables(start, 1))
        rows = len(self.step.x)
        self.step.place(start if isinstance(start, tuple) else (start,) * rows, cosines, sines)
        self.start = start


def _address(weights: Weights) -> int:
    first = next(iter(weights.values()))
    return int((first if isinstance(first, Tensor) else first.weight).data_ptr())


class DeviceBlocks:
    """The fused blocks of one executor; scratch per device and number of sequences."""

    def __init__(self, config: ModelConfig, runtime: Runtime, context: int, batch: int, dtype: torch.dtype) -> None:
        self._config, self._runtime, self._context, self._batch = config, runtime, context, batch
        self.dtype, self.notes = dtype, dict[str, str]()
        self._modules: dict[str, Any] = {}
        self._steps: dict[tuple[str, int], _Entry] = {}
        self._blocks: dict[tuple[str, int], Fused | None] = {}

    def adopt(self, placement: Placement) -> None:
        """Compile what the placement's devices need."""
        self.clear()
        for device in sorted({a.exec_device for a in placement.assignments} - {"cpu"}):
            precisions = {a.precision for n, a in placement.items() if a.exec_device == device and n != "embed"}
            formats = frozenset(KERNEL_FORMATS.get(p, "dense") for p in precisions)
            refusal = self._refusal()
            if refusal is None:
                try:
                    self._modules[device] = self._runtime.module(self._instances(device, formats), device)
                except LlmdistError as error:  # an old card, or no compiler
                    refusal = f"Plain layers compute on {device}, slowly: {error}"
            if refusal is not None:
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

    def head(self, device: str, weights: Weights, x: Tensor) -> Tensor | None:
        """Return the logits (batch, keep, vocab_size) float32 of `x` (batch, keep, hidden); None where layers do."""
        rows = x.numel() // x.shape[-1]
        if not self._fits(device, x, rows) or not weights:
            return None
        block = self._block("head", weights)
        if not isinstance(block, FusedHead):
            return None
        logits = self._step(device, rows).step.head(block, x.to(self.dtype).contiguous().view(rows, -1))
        return logits.view(*x.shape[:-1], -1).clone()

    def compute(
        self, names: Sequence[str], device: str, weights: Sequence[Weights], x: Tensor, rope: Rope,
        caches: Sequence[KeysAndValues], start: int | tuple[int, ...],
    ) -> Tensor | None:  # fmt: skip
        """Return what blocks `names`, one after the other, make of `x` (batch, 1, hidden).

        `caches` has one entry per block, None for an MLP. None is returned, and nothing computed, where plain layers
        must do it. The result lies in a buffer that the next step uses again.
        """
        rows = x.shape[0]
        if not self._fits(device, x, rows) or x.shape[1] != 1 or not all(weights):
            return None
        blocks = [self._block(name, some) for name, some in zip(names, weights, strict=True)]
        if not all(blocks) or not all(map(self._readable, names, caches)):
            return None
        entry = self._step(device, rows)
        entry.place(start, rope)
        step = entry.step
        if x.data_ptr() != step.x.data_ptr():
            step.x.copy_(x.view(rows, -1))

        def queue() -> None:
            for block, cache in zip(blocks, caches, strict=True):
                if isinstance(block, FusedMlp):
                    step.mlp(block, step.x)
                elif isinstance(block, FusedAttention) and cache is not None:
                    step.attention(block, step.x, cache)  # type: ignore[arg-type]

        keys = next((cache[0] for cache in caches if cache is not None), None)
        key = *names, _address(weights[0]), keys.data_ptr() if isinstance(keys, Tensor) else 0
        replay = entry.replays.get(key)
        if replay is not None:
            replay()
        elif key in entry.used:
            entry.replays[key] = replay = self._runtime.recorded(device, queue)
            replay()
        else:
            entry.used.add(key)
            queue()
        return step.x.view(x.shape)

    def _fits(self, device: str, x: Tensor, rows: int) -> bool:
        """Return whether `device` has kernels for `x` (batch, tokens, hidden) of so many rows, of any type."""
        return device in self._modules and x.dim() == 3 and rows <= min(MAXIMUM_VECTORS, self._batch)

    def _readable(self, name: str, cache: KeysAndValues) -> bool:
        if cache is None or all(isinstance(part, Tensor) for part in cache):
            return True
        self.notes[name] = "The kernels do not read a KV cache in int8: attention runs through plain layers."
        return False

    def _block(self, name: str, weights: Weights) -> Fused | None:
        key = name, _address(weights)
        if key not in self._blocks:
            right = all(w.dtype == self.dtype for w in weights.values() if isinstance(w, Tensor))
            self._blocks[key] = stored_block(name, weights) if right else None
            if self._blocks[key] is None:
                self.notes[name] = "Some blocks do not lie as the kernels read them: they run through the plain layers."
        return self._blocks[key]

    def _step(self, device: str, rows: int) -> _Entry:
        if (device, rows) not in self._steps:
            for old in [key for key in self._steps if key[0] == device][: 1 - _KEPT_STEPS]:
                del self._steps[old]
            shape, place = self._shape(device, rows), self._runtime.place(device)
            self._steps[device, rows] = _Entry(
                FusedStep(self._config, self._modules[device], shape, rows, self.dtype, place)
            )
        return self._steps[device, rows]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return why something does not run fused: each sentence once, however many blocks it concerns."""
        return tuple(dict.fromkeys(self.notes.values()))

    @property
    def nbytes(self) -> int:
        """Return the bytes of scratch: a part of the plan's workspace."""
        return sum(entry.step.nbytes for entry in self._steps.values())

    def clear(self) -> None:
        """Forget every block and buffer."""
        self._steps.clear()
        self._blocks.clear()
        self._modules.clear()
        self.notes.clear()


_KEPT_STEPS = 2  # per device: what a changing number of sequences leaves behind is bounded
_KIND = {torch.bfloat16: "Bf16", torch.float16: "Fp16"}
_FORM = {"dense": "Dense", "int8": "Int8", "int4g32": "Int4<32>"}
