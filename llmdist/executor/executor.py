"""Runs a placement: resident blocks from memory, streamed blocks through slots, one pass at a time.

`streaming=False` is the plain version (copy, then compute); `streaming=True` prefetches. Both follow the
same schedule and give the same logits. Nothing here samples or knows text.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from ..events import BlockComputed, CopyFinished
from ..kernels.cpu import Weight
from ..model.checkpoint import Checkpoint
from ..model.compute import Activation, compute_layer_block, wanted_experts
from ..model.layers import Rope, head, scale_embedding
from ..planner.placement import Placement
from .fused import FusedBlocks
from .kv_cache import KVCache
from .packed_blocks import PackedBlocks
from .schedule import build_schedule
from .staging import PrefetchingCopies, SequentialCopies, SlotPool, Staged
from .weights import TORCH_DTYPES, BlockLayout, read_rows

__all__ = ["PREFILL_CHUNK", "Executor", "Pass"]

#: Prompt tokens that go through the blocks together: bounds the activations' memory.
PREFILL_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Pass:
    """The result of one pass: `logits` (batch, vocab_size) float32 of the last token, and what it took."""

    logits: Tensor
    bytes_moved: int
    copies: tuple[CopyFinished, ...]
    computes: tuple[BlockComputed, ...]


class Executor:
    """Owns the weights and the KV cache of one placement.

    Parameters
    ----------
    checkpoint : the opened model; weights are read from its files.
    placement : where every block lives and executes.
    context, batch : size of the KV cache, in tokens and sequences.
    slots : staging slots per exec device.
    streaming : prefetch in a reader thread (True) or copy when needed (False).
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        placement: Placement,
        context: int,
        batch: int = 1,
        slots: int = 2,
        streaming: bool = True,
    ) -> None:
        self.checkpoint, self.config = checkpoint, checkpoint.config
        self.slots, self.streaming = slots, streaming
        self.dtype = _activation_dtype(placement)
        self._packed, self._fused = PackedBlocks(checkpoint.identity()), FusedBlocks(self.config)
        self.ropes = {
            device: Rope(self.config, device) for device in {a.exec_device for a in placement.assignments}
        }
        self.cache = KVCache(self.config, placement, batch, context, self.dtype)
        self._weights: dict[str, Tensor] = {}
        self._homes: dict[str, tuple[str, str]] = {}
        self._copies: SequentialCopies | PrefetchingCopies | None = None
        self._adopt(placement)

    def _adopt(self, placement: Placement) -> None:
        """Free what leaves, read what arrives, and set up the slots."""
        homes = {name: (choice.home_device, choice.precision) for name, choice in placement.items()}
        for name in list(self._weights):
            if homes[name] != self._homes[name]:
                del self._weights[name]
        self._homes = homes
        self.placement = placement
        self.schedule = build_schedule(placement, self.slots)
        self._layouts = {
            name: self._packed.located(
                name, choice.precision, BlockLayout.of(self.checkpoint.block_tensors(name), choice.precision)
            )
            for name, choice in placement.items()
        }
        self._packed.prepare({n: p for n, (home, p) in homes.items() if home == "disk"}, self._layouts)
        self._pool = SlotPool(self.schedule, self._layouts, self._weights)
        for name, (home, _) in homes.items():
            if home != "disk" and name not in self._weights and not self._is_tied_embedding(name):
                self._weights[name] = self._read(name, home)
        self._views = {name: self._layouts[name].views(buffer) for name, buffer in self._weights.items()}
        self._start()

    def _start(self) -> None:
        if self.schedule.copies:
            kind = PrefetchingCopies if self.streaming else SequentialCopies
            self._copies = kind(self.schedule, self._pool)

    def _is_tied_embedding(self, name: str) -> bool:
        return name == "embed" and self.config.tie_embeddings

    def _read(self, name: str, home: str) -> Tensor:
        buffer = torch.empty(self._layouts[name].nbytes, dtype=torch.uint8)
        self._packed.fill(name, self._homes[name][1], self._layouts[name], buffer)
        return buffer if home == "cpu" else buffer.to(home)

    def apply(self, placement: Placement) -> None:
        """Move to another placement; the KV cache and every block that stays are kept."""
        self._stop()
        self._fused.clear()
        del self._pool
        self.cache.move(placement)
        for device in {a.exec_device for a in placement.assignments} - set(self.ropes):
            self.ropes[device] = Rope(self.config, device)
        self._adopt(placement)

    def forward(self, tokens: Tensor, start: int) -> Pass:
        """Run `tokens` (batch, count) int64 from position `start` and return the last token's logits."""
        moved = 0
        result = None
        for first in range(0, tokens.shape[1], PREFILL_CHUNK):
            result = self._pass(tokens[:, first : first + PREFILL_CHUNK], start + first, moved)
            moved = result.bytes_moved
        assert result is not None, "forward needs at least one token"
        return result

    @torch.inference_mode()
    def _pass(self, tokens: Tensor, start: int, moved: int) -> Pass:
        copies: list[CopyFinished] = []
        computes: list[BlockComputed] = []
        x: Activation = tokens
        for step in self.schedule.computes:
            wanted = wanted_experts(self.config, step.block, x)
            needed, staged = wanted is None or bool(wanted), None
            if step.slot is not None and self._copies:
                staged = self._copies.take(step.block) if needed else self._copies.skip(step.block)
            began = time.monotonic()
            x = self._compute(step.block, step.device, x, start, staged)
            computes.append(BlockComputed(step.block, began, time.monotonic(), step.device))
            if staged is not None and self._copies:
                self._copies.release(staged)
                copies.append(staged.record)
                moved += staged.record.nbytes
        assert isinstance(x, Tensor), "a pass ends with the head"
        return Pass(x, moved, tuple(copies), tuple(computes))

    def _compute(self, name: str, device: str, x: Activation, start: int, staged: Staged | None) -> Activation:
        weights = staged.tensors if staged is not None else self._views.get(name, {})
        x = x.to(device)
        if isinstance(x, Tensor) and name == "embed":
            rows = self._embed(x, weights.get("weight")).to(self.dtype)
            return scale_embedding(self.config, rows).to(device)
        cache = self.cache[name] if name.endswith(".attention") else None
        if isinstance(x, Tensor):
            x = x[:, -1] if name == "head" else x
            fused = self._fused.compute(name, device, weights, x, self.ropes[device], cache, start)
            if fused is not None:
                return fused
            x = x.to(self.dtype)
        if isinstance(x, Tensor) and name == "head":
            return head(self.config, dict(weights), x)
        return compute_layer_block(self.config, name, weights, x, self.ropes[device], cache, start)

    def _embed(self, tokens: Tensor, weight: Weight | None) -> Tensor:
        if weight is None and self.config.tie_embeddings and "head" in self._views:
            weight = self._views["head"]["lm_head"]
        if isinstance(weight, Tensor):  # a quantised head has no rows to give
            return weight[tokens.to(weight.device)]
        return read_rows(self.checkpoint.block_tensors("embed")["weight"], tokens, self.dtype)

    @property
    def held_bytes(self) -> int:
        """Return the bytes of weights, staging slots and KV cache that are allocated."""
        return sum(w.nbytes for w in self._weights.values()) + self._pool.nbytes + self.cache.nbytes

    def _stop(self) -> None:
        if self._copies is not None:
            self._copies.close()
            self._copies = None

    def close(self) -> None:
        """Stop the reader and free the weights."""
        self._stop()
        self._weights.clear()
        self._views.clear()
        self._fused.clear()


def _activation_dtype(placement: Placement) -> torch.dtype:
    """Return the type of activations and KV cache: that of the plain weights, bf16 where all are quantised."""
    plain = [a.precision for a in placement.assignments if a.precision in TORCH_DTYPES]
    return TORCH_DTYPES[plain[0]] if plain else torch.bfloat16
