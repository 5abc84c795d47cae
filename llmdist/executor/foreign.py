"""Runs a model that llmdist has no layers for, by transformers' own modules: the slow path.

The model is built without weights. Its own forward pass runs; as it enters a layer, the layer borrows its weights
from that block's buffer, resident or staged as the plan says, and gives them back as it leaves. So the schedule, the
slots and the reader are those of every other model; only the loop over the blocks is transformers'.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..kernels.cpu import Weight
from ..model.checkpoint import Checkpoint
from ..model.foreign import build_skeleton, head_names, layer_list
from ..planner.placement import Placement
from .device_times import DeviceTimes
from .executor import Executor
from .microbatch import MicroBatch
from .runtime import Event
from .staging import Staged
from .weights import BlockLayout, fill

__all__ = ["ForeignExecutor", "ForeignModel"]

Lend = Callable[[str], Mapping[str, Tensor]]
Rows = Callable[[Tensor], Tensor]


class ForeignModel:
    """A transformers model without weights, to compute in `dtype`."""

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype) -> None:
        raw = json.loads((checkpoint.folder / "config.json").read_text(encoding="utf-8"))
        self.model = build_skeleton(checkpoint.folder, raw, dtype)
        _fill_buffers(self.model)
        self._caches: dict[int, Any] = {}
        self._take: Lend
        self._give: Callable[[str], None]
        self._rows: Rows
        self._edges: Mapping[str, Tensor] = {}
        self._hook()

    def bind_edges(self, edges: Mapping[str, Tensor]) -> None:
        """Keep what lies outside layers, embedding and head (norms, positions): small, and always in memory."""
        self._edges = edges
        _bind(self.model, edges)

    def _hook(self) -> None:
        for i, layer in enumerate(layer_list(self.model)[1]):
            self._borrow(layer, f"layers.{i}.block", {name: name for name, _ in layer.named_parameters()})
        names = {name.rpartition(".")[2]: ours for name, ours in head_names(self.model).items()}
        self._borrow(self.model.get_output_embeddings(), "head", names)
        table = self.model.get_input_embeddings()
        table.padding_idx = None  # it names a row of the whole table, and matters to gradients only
        table.register_forward_pre_hook(self._read_rows)

    def _borrow(self, module: nn.Module, block: str, names: Mapping[str, str]) -> None:
        """Let `module` have its block's weights while it computes; `names` are its own -> those in the block."""
        skeleton = dict(module.named_parameters())

        def enter(_: nn.Module, __: Any) -> None:
            weights = self._take(block)
            _bind(module, {name: weights[ours] for name, ours in names.items()})

        def leave(*_: Any) -> None:
            _bind(module, skeleton)
            self._give(block)

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    def _read_rows(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Give the embedding only the rows of its tokens, and the tokens their places among them."""
        unique, places = torch.unique(arguments[0], return_inverse=True)
        _bind(module, {"weight": self._rows(unique)})
        return (places, *arguments[1:])

    def forward(
        self, tokens: Tensor, row: int, start: int, keep: int, take: Lend, give: Callable[[str], None], rows: Rows
    ) -> Tensor:
        """Return the logits (keep, vocab_size) float32 after the last `keep` of `tokens` (count,) of sequence `row`.

        `take` and `give` lend and return the weights of a block; `rows` reads rows of the embedding. What the cache
        of the sequence holds from position `start` on is dropped.
        """
        from transformers import DynamicCache

        self._take, self._give, self._rows = take, give, rows
        cache = self._caches.get(row)
        if cache is None or start == 0:
            cache = self._caches[row] = DynamicCache()
        elif cache.get_seq_length() > start:
            cache.crop(start)
        mask = torch.ones(1, start + tokens.numel(), dtype=torch.long)
        done = self.model(tokens[None], attention_mask=mask, past_key_values=cache, use_cache=True)
        logits: Tensor = done.logits
        return logits[0, -keep:].float()

    @property
    def nbytes(self) -> int:
        """Return the bytes of all keys and values, and of the edges."""
        layers = [layer for cache in self._caches.values() for layer in cache.layers]
        kept = sum(int(layer.keys.nbytes + layer.values.nbytes) for layer in layers)
        return kept + sum(edge.nbytes for edge in self._edges.values())


def _bind(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put `tensors` in the place of the parameters that they are named after, without a copy."""
    for name, tensor in tensors.items():
        owner, _, last = name.rpartition(".")
        parameter = tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, requires_grad=False)
        module.get_submodule(owner)._parameters[last] = parameter


def _fill_buffers(model: Any) -> None:
    """Give buffers that no file holds (rotation speeds, masks) their values, by transformers' own initialisation."""
    for module in model.modules():
        empty = [name for name, buffer in module.named_buffers(recurse=False) if buffer.is_meta]
        for name in empty:
            module._buffers[name] = torch.empty_like(module._buffers[name], device="cpu")
        if empty:
            model._init_weights(module)


class ForeignExecutor(Executor):
    """An executor whose loop over the blocks is the forward pass of transformers' model."""

    def _adopt(self, placement: Placement) -> None:
        devices = {choice.exec_device for _, choice in placement.items()}
        if devices != {"cpu"}:
            raise ModelError(
                f"A model of type {self.config.family!r} is computed by transformers' own layers, on the CPU only, and "
                f"the placement computes on {', '.join(sorted(devices))}: plan with vram=0."
            )
        super()._adopt(placement)

    @cached_property
    def _foreign(self) -> ForeignModel:
        tensors = self.checkpoint.block_tensors("head")
        model = ForeignModel(self.checkpoint, self.dtype)
        edges = tensors.keys() - head_names(model.model).values()
        layout = BlockLayout.of({name: tensors[name] for name in edges}, self.dtype)
        buffer = torch.empty(layout.nbytes, dtype=torch.uint8)
        fill(layout, buffer, self.reader)
        views = layout.views(buffer)
        model.bind_edges({name: view for name, view in views.items() if isinstance(view, Tensor)})
        return model

    @torch.inference_mode()
    def _pass(self, batches: list[MicroBatch], keep: int, times: DeviceTimes) -> dict[int, Tensor]:
        """Run one sequence after the other: transformers' loop over the blocks takes no turns."""
        lender = _Lender(self._copies, self._views, times)
        rows = partial(self._embed, weight=self._views.get("embed", {}).get("weight"))
        kept: dict[int, Tensor] = {}
        for batch in batches:
            count = batch.rows.stop - batch.rows.start
            starts = (batch.start,) * count if isinstance(batch.start, int) else batch.start
            for row, tokens, start in zip(range(batch.rows.start, batch.rows.stop), batch.tokens, starts, strict=True):
                kept[row] = self._foreign.forward(
                    tokens, row, start, min(keep, tokens.numel()), lender.take, lender.give, rows
                )
        return kept

    @property
    def held_bytes(self) -> int:
        """Return the bytes of weights, staging slots, keys and values that are allocated."""
        return super().held_bytes + self._foreign.nbytes


class _Lender:
    """Hands out the weights of one block after the other, and takes down what that took."""

    def __init__(self, copies: Any, views: Mapping[str, Mapping[str, Weight]], times: DeviceTimes) -> None:
        self._copies, self._views, self._times = copies, views, times
        self._staged: Staged | None = None
        self._began: Event | float = 0.0

    def take(self, block: str) -> Mapping[str, Tensor]:
        """Return the block's weights, waiting for their copy."""
        staged: Staged | None = self._copies.take(block) if block not in self._views else None
        self._staged, self._began = staged, self._times.begin("cpu")
        found = self._views[block] if staged is None else staged.tensors
        return {name: tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}

    def give(self, block: str) -> None:
        """Take the weights back."""
        self._times.computed("cpu", self._began, ((block, 0),))
        if self._staged is not None:
            self._copies.release(self._staged)
            self._times.copied(self._staged)
