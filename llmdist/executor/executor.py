"""Runs a placement: resident blocks from memory, streamed blocks through slots, one pass at a time.

`streaming=False` is the plain version (copy, then compute); `streaming=True` prefetches. Both follow the
same schedule and give the same logits. Nothing here samples or knows text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from ..buffers import aligned_buffer
from ..cost.workspace import CHUNK_TOKENS, pass_tokens, piece_bytes
from ..events import BlockComputed, CopyFinished
from ..kernels.cpu import Weight
from ..model.checkpoint import Checkpoint
from ..model.compute import Activation, close_experts, compute_expert, compute_layer_block, wanted_experts
from ..model.layers import Rope, head, mlp_share, scale_embedding
from ..model.reader import Reader
from ..planner.placement import Assignment, Placement
from .arrivals import Arrivals, Report
from .demand import demand_pools
from .device_blocks import DeviceBlocks
from .device_times import DeviceTimes
from .fused import FusedBlocks
from .kv_cache import KVCache
from .microbatch import MicroBatch, cut, passes
from .packed_blocks import PackedBlocks
from .runtime import CudaRuntime, Runtime
from .schedule import Compute, build_schedule
from .split_blocks import SplitBlocks, own_layout
from .staging import PrefetchingCopies, SequentialCopies, SlotPool
from .weights import TORCH_DTYPES, BlockLayout, read_rows

__all__ = ["Executor", "Pass"]


@dataclass(frozen=True, slots=True)
class Pass:
    """The result of a request: `logits` (batch x keep, vocab_size) float32, and what it took.

    Row i * keep + j is what sequence i predicts after the j-th of its last `keep` tokens.
    """

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
    kv : ``int8`` keeps keys and values in 8 bits; any other name keeps them in the type of the activations.
    runtime : what reaches the devices; torch's by default.
    report : told of every block that a load or a move brings in.

    Raises
    ------
    HardwareError : the placement computes on a device that is not there.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        placement: Placement,
        context: int,
        batch: int = 1,
        slots: int = 2,
        streaming: bool = True,
        kv: str = "",
        runtime: Runtime | None = None,
        report: Report | None = None,
    ) -> None:
        self._report = report
        self.runtime = runtime or CudaRuntime()
        devices = {a.exec_device for a in placement.assignments}
        for device in devices:
            self.runtime.require(device)
        self.checkpoint, self.config = checkpoint, checkpoint.config
        self.slots, self.streaming = slots, streaming
        self.dtype = _activation_dtype(placement, all(map(self.runtime.has_bf16, devices)))
        self._packed, self._fused = PackedBlocks(checkpoint.identity()), FusedBlocks(self.config)
        self.device_blocks = DeviceBlocks(self.config, self.runtime, context, batch, self.dtype)
        self.ropes = {device: Rope(self.config, self.runtime.place(device)) for device in {*devices, "cpu"}}
        kind = kv if kv == "int8" else self.dtype
        self.cache = KVCache(self.config, placement, batch, context, kind, self.runtime.place)
        self.chunk, self.pass_tokens = CHUNK_TOKENS, pass_tokens(self.config.hidden_size)
        self.reader = Reader(piece_bytes=self._piece_bytes(placement))
        self._split = SplitBlocks(checkpoint, self.runtime, self._packed, self.reader)
        self._weights: dict[str, Tensor] = {}
        self._homes: dict[str, tuple[str, str, bool, int]] = {}
        self._copies: SequentialCopies | PrefetchingCopies | None = None
        try:
            self._adopt(placement)
        except BaseException:
            self.reader.close()  # its threads would outlive an executor that nobody holds
            raise

    def _adopt(self, placement: Placement) -> None:
        """Free what leaves, read what arrives, and set up the slots."""
        homes = {name: _home(choice) for name, choice in placement.items()}
        for name in list(self._weights):
            if homes[name] != self._homes[name]:
                del self._weights[name]
        self._homes = homes
        self._split.leave(placement)
        self.placement = placement
        self._one_device = len({choice.exec_device for choice in placement.assignments}) == 1
        self._on_demand = frozenset(name for name, choice in placement.items() if choice.on_demand)
        kept = 1 if self._on_demand else 0  # a slot is kept for experts
        self.schedule = build_schedule(placement, max(1, self.slots - kept))
        split = {name for name, choice in placement.items() if choice.cpu_eighths}
        self._runs = tuple(_runs(self.schedule.computes, self._on_demand | split))
        self.device_blocks.adopt(placement)
        self._layouts = {
            name: self._packed.located(name, choice.precision, self._layout(name, choice))
            for name, choice in placement.items()
        }
        self._sizes = {name: (name, layout.nbytes) for name, layout in self._layouts.items()}
        streamed = {n: p for n, (home, p, *_) in homes.items() if home == "disk"}
        missing = self._packed.missing(streamed, self._layouts)
        coming = {
            name: home for name, (home, *_) in homes.items()
            if home != "disk" and name not in self._weights and not self._is_tied_embedding(name)
        }  # fmt: skip
        parts = self._split.coming(placement)
        expected = sum(self._layouts[name].nbytes for name in (*missing, *coming))
        arrivals = Arrivals(self._report, expected + sum(part.nbytes for part in parts.values()))
        self._packed.prepare(missing, self._layouts, arrivals)
        self._pool = SlotPool(self.schedule, self._layouts, self._weights, self.reader, self.runtime)
        self._demand = demand_pools(placement, self._layouts, self.slots, self._weights, self.reader)
        for name, home in coming.items():
            self._weights[name] = self._read(name, home, arrivals)
        self._split.bring(placement, parts, arrivals)
        self._views = {name: self._layouts[name].views(buffer) for name, buffer in self._weights.items()}

    def _layout(self, name: str, choice: Assignment) -> BlockLayout:
        plain = own_layout(self.checkpoint.block_tensors(name), choice)
        return self.device_blocks.layout(name, choice.exec_device, choice.precision, plain)

    def _start(self) -> None:
        if self.schedule.copies and self._copies is None:
            kind = PrefetchingCopies if self.streaming else SequentialCopies
            self._copies = kind(self.schedule, self._pool)

    def _piece_bytes(self, placement: Placement) -> int:
        """Return the reader's piece, by the largest block that may be read as a whole."""
        return piece_bytes(
            max(
                BlockLayout.of(self.checkpoint.block_tensors(name), choice.precision).nbytes
                for name, choice in placement.items()
                if name != "embed"
            )
        )

    def _is_tied_embedding(self, name: str) -> bool:
        return name == "embed" and self.config.tie_embeddings

    def _read(self, name: str, home: str, arrivals: Arrivals) -> Tensor:
        nbytes, (_, precision, on_gpu, _) = self._layouts[name].nbytes, self._homes[name]
        pinned = home == "cpu" and on_gpu and name != "embed"
        buffer = self.runtime.pinned(nbytes) if pinned else aligned_buffer(nbytes)
        made = self._packed.fill(name, precision, self._layouts[name], buffer, self.reader)
        buffer = buffer if home == "cpu" else buffer.to(self.runtime.place(home))
        arrivals.arrived(nbytes, precision if made else "", not self._packed.note)
        return buffer

    def apply(self, placement: Placement) -> None:
        """Move to another placement; the KV cache and every block that stays are kept.

        After an error the executor is half moved and must be closed.
        """
        self._stop()
        self._views.clear()
        self._fused.clear()
        del self._pool, self._demand
        self.cache.move(placement)
        for device in {a.exec_device for a in placement.assignments} - set(self.ropes):
            self.runtime.require(device)
            self.ropes[device] = Rope(self.config, self.runtime.place(device))
        self._adopt(placement)

    def forward(self, tokens: Tensor, start: int) -> Pass:
        """Run `tokens` (batch, count) int64 from position `start` and return the last token's logits."""
        return self.run(tokens.tolist(), [start] * tokens.shape[0])

    def run(self, tokens: Sequence[Sequence[int]], starts: Sequence[int], keep: int = 1) -> Pass:
        """Run the tokens of each sequence from its own position.

        Parameters
        ----------
        tokens : one list of token ids per sequence, none empty; lengths may differ.
        starts : position of each sequence's first token; what the KV cache holds from there on is overwritten.
        keep : how many of each sequence's last tokens give logits.

        Raises
        ------
        ModelError : weights can no longer be read; the next call tries again.
        """
        assert min(map(len, tokens)) >= keep <= self.chunk, "keep lies within every sequence's last chunk"
        times = DeviceTimes(self.runtime)
        kept: dict[int, Tensor] = {}
        try:
            self._start()
            for group in passes(cut(tokens, starts, self.chunk), self.pass_tokens):
                kept |= self._pass(group, keep, times)
            logits = torch.cat([kept[row] for row in range(len(tokens))])
            times.wait()
        except BaseException:
            self._stop()  # a copy that failed, or was left in its slot, must not meet the next call
            raise
        copies = times.copies
        return Pass(logits, sum(copy.nbytes for copy in copies), copies, times.computes)

    @torch.inference_mode()
    def _pass(self, batches: list[MicroBatch], keep: int, times: DeviceTimes) -> dict[int, Tensor]:
        """Bring every micro-batch through every block; return the logits of the sequences that end here."""
        kept: dict[int, Tensor] = {}
        for steps in self._runs:
            if steps[0].device == "cpu" and steps[0].block != "embed" and not self._one_device:
                for batch in batches:  # waits for what a GPU still computes, which is no time of this block
                    batch.x = batch.x.to("cpu")
            if steps[0].block in self._on_demand:
                self._compute_on_demand(steps[0], batches, times)
            elif not self._computed_as_one(steps, batches, times):
                for some in [steps] if steps[0].device != "cpu" else [(step,) for step in steps]:
                    kept |= self._compute_through(some, batches, keep, times)
        return kept

    def _computed_as_one(self, steps: Sequence[Compute], batches: list[MicroBatch], times: DeviceTimes) -> bool:
        """Bring a micro-batch of a few tokens through blocks of the CPU in one call, if that is what this is."""
        batch, x = batches[0], batches[0].x
        if len(steps) == 1 or steps[0].device != "cpu" or len(batches) > 1 or not isinstance(x, Tensor):
            return False
        names, began = [step.block for step in steps], times.begin("cpu")
        caches = [self.cache.rows(name, batch.rows) if name.endswith(".attention") else None for name in names]
        weights = [self._views[name] for name in names]
        found = self._fused.compute_run(names, weights, x, self.ropes["cpu"], caches, batch.start)
        if found is None:
            return False
        batch.x, seconds = found
        times.computed("cpu", began, [self._sizes[name] for name in names], seconds)
        return True

    def _compute_through(
        self, steps: Sequence[Compute], batches: list[MicroBatch], keep: int, times: DeviceTimes
    ) -> dict[int, Tensor]:
        """Bring every micro-batch through a block, or blocks of one GPU; return logits behind the head."""
        step, kept = steps[0], dict[int, Tensor]()
        wanted = [wanted_experts(self.config, step.block, batch.x) for batch in batches]
        needed, staged = any(some is None or some for some in wanted), None
        if step.slot is not None and self._copies:
            staged = self._copies.take(step.block) if needed else self._copies.skip(step.block)
        began = times.begin(step.device)
        weights = [staged.tensors] if staged else [self._views.get(one.block, {}) for one in steps]
        if step.block == "head":
            kept = self._head(batches, keep, weights[0], step.device)
        else:
            for batch in batches:
                self._compute_run(steps, batch, weights)
        times.computed(step.device, began, [self._sizes[one.block] for one in steps])
        if staged is not None and self._copies:
            self._copies.release(staged)
            times.copied(staged)
        return kept

    def _compute_on_demand(
        self, step: Compute, batches: list[MicroBatch], times: DeviceTimes
    ) -> None:
        """Compute a group of experts of which only the chosen ones are read, each once for every micro-batch."""
        pool, began = self._demand[step.device], times.begin(step.device)
        chosen = [wanted_experts(self.config, step.block, batch.x) or frozenset() for batch in batches]
        numbers = sorted(frozenset[int]().union(*chosen))
        for batch in batches:
            batch.x = batch.x.to(step.device)
        for number, weights in pool.bring(step.block, self._layouts[step.block], numbers):
            for batch, some in zip(batches, chosen, strict=True):
                if number in some:
                    batch.x = compute_expert(self.config, number, weights, batch.x)
        for batch in batches:
            batch.x = close_experts(self.config, step.block, batch.x)
        times.computed(step.device, began, [self._sizes[step.block]])
        if numbers and pool.record is not None:
            times.copied(pool.record)

    def _compute_run(
        self, steps: Sequence[Compute], batch: MicroBatch, weights: Sequence[Mapping[str, Weight]]
    ) -> None:
        """Bring a micro-batch through blocks of one device: at once where its kernels take them all."""
        device, x = steps[0].device, batch.x
        if steps[0].block in self._split and isinstance(x, Tensor):
            name = steps[0].block
            x = x.to(self.runtime.place(device), self.dtype)
            batch.x = self._split.compute(
                name, device, x, self.ropes["cpu"], lambda x: self._own_share(name, device, batch, x, weights[0])
            )
            return
        if device != "cpu" and isinstance(x, Tensor) and x.shape[1:-1] == (1,):
            names = [step.block for step in steps]
            caches = [self.cache.rows(n, batch.rows) if n.endswith(".attention") else None for n in names]
            fused = self.device_blocks.compute(names, device, weights, x, self.ropes[device], caches, batch.start)
            if fused is not None:
                batch.x = fused
                return
        if len(steps) == 1:
            batch.x = self._compute(steps[0].block, device, batch, weights[0])
            return
        for step, some in zip(steps, weights, strict=True):
            self._compute_run([step], batch, [some])

    def _own_share(
        self, name: str, device: str, batch: MicroBatch, x: Tensor, weights: Mapping[str, Weight]
    ) -> Tensor:
        """Return `x` plus what the device's own neurons of a split block add."""
        rope, found = self.ropes[device], None
        if x.shape[1] == 1:
            found = self.device_blocks.compute([name], device, [weights], x, rope, [None], batch.start)
        return x + mlp_share(self.config, weights, x) if found is None else found

    def _compute(self, name: str, device: str, batch: MicroBatch, weights: Mapping[str, Weight]) -> Activation:
        if name == "embed":
            rows = self._embed(batch.tokens, weights.get("weight")).to(self.dtype)
            return scale_embedding(self.config, rows).to(self.runtime.place(device))
        x, cache = batch.x if self._one_device else batch.x.to(str(self.runtime.place(device))), None
        if name.endswith(".attention"):
            cache = self.cache.rows(name, batch.rows)
        if isinstance(x, Tensor):
            fused = self._fused.compute(name, device, weights, x, self.ropes[device], cache, batch.start)
            if fused is not None:
                return fused
            x = x.to(self.dtype)
        return compute_layer_block(self.config, name, weights, x, self.ropes[device], cache, batch.start)

    def _head(
        self, batches: list[MicroBatch], keep: int, weights: Mapping[str, Weight], device: str
    ) -> dict[int, Tensor]:
        """Return the logits (keep, vocab_size) of every sequence whose tokens end in these micro-batches."""
        ending = [batch for batch in batches if batch.last]
        if not ending:
            return {}
        sequences = [row for batch in ending for row in range(batch.rows.start, batch.rows.stop)]
        x = torch.cat([batch.hidden[:, -keep:].to(self.runtime.place(device), self.dtype) for batch in ending])
        logits = self._fused.compute("head", device, weights, x, self.ropes[device], None, 0)
        if logits is None:
            logits = self.device_blocks.head(device, weights, x)
        if logits is None:
            logits = head(self.config, dict(weights), x)
        return dict(zip(sequences, logits, strict=True))

    def _embed(self, tokens: Tensor, weight: Weight | None) -> Tensor:
        if weight is None and self.config.tie_embeddings and "head" in self._views:
            weight = self._views["head"]["lm_head"]
        if isinstance(weight, Tensor):  # a quantised head has no rows to give
            return weight[tokens.to(weight.device)]
        return read_rows(self.checkpoint.block_tensors("embed")["weight"], tokens, self.dtype, self.reader)

    @property
    def held_bytes(self) -> int:
        """Return the bytes of weights, staging slots and KV cache; the reader's pieces belong to the workspace."""
        staged = self._pool.nbytes + sum(pool.nbytes for pool in self._demand.values())
        return sum(w.nbytes for w in self._weights.values()) + self._split.nbytes + staged + self.cache.nbytes

    @property
    def note(self) -> str:
        """Return sentences for the user about the load and about blocks that the kernels refuse, or nothing."""
        return " ".join(filter(None, (self._packed.note, *self.device_blocks.reasons)))

    def _stop(self) -> None:
        if self._copies is not None:
            self._copies.close()
            self._copies = None

    def close(self) -> None:
        """Stop the reader and free the weights."""
        self._stop()
        self.reader.close()
        self._weights.clear()
        self._views.clear()
        self._fused.clear()
        self._split.close()
        self.device_blocks.clear()


def _runs(computes: Sequence[Compute], alone: frozenset[str]) -> Iterator[tuple[Compute, ...]]:
    """Yield the computes in runs: resident layers that follow each other on one device are asked for together."""

    def kind(step: Compute) -> str | int:
        layer = step.block.endswith((".attention", ".mlp")) and step.block not in alone
        return step.device if layer and step.slot is None else id(step)

    for _, run in groupby(computes, key=kind):
        yield tuple(run)


def _home(choice: Assignment) -> tuple[str, str, bool, int]:
    """Return what a block's bytes depend on: where, at which precision, whether for a GPU's kernels, which part."""
    return choice.home_device, choice.precision, choice.exec_device != "cpu", choice.cpu_eighths


def _activation_dtype(placement: Placement, has_bf16: bool) -> torch.dtype:
    """Return the type of activations and KV cache: that of plain weights; where all are quantised bf16, or fp16."""
    plain = [a.precision for a in placement.assignments if a.precision in TORCH_DTYPES]
    return TORCH_DTYPES[plain[0]] if plain else torch.bfloat16 if has_bf16 else torch.float16
