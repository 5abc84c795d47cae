"""Blocks of a pass that run as one compiled call each, prepared at their first use in a buffer.

What the kernels do not compute (another device or family, many tokens, no compiler) is left to `model.layers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..kernels.cpu import Weight
from ..kernels.decode import FUSED_TOKENS, FusedAttention, FusedHead, FusedMlp, FusedRun, fused_block
from ..model.compute import KeysAndValues
from ..model.config import ModelConfig
from ..model.rope import Rope

__all__ = ["FusedBlocks"]


class FusedBlocks:
    """The compiled calls of one executor, by block and buffer (a staging slot serves many blocks)."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._calls: dict[tuple[str, int], FusedAttention | FusedMlp | FusedHead | None] = {}
        self._runs: dict[str, FusedRun | None] = {}  # by the first block: residents, whose buffers stay until `clear`
        self._latest: dict[str, tuple[Mapping[str, Weight], FusedAttention | FusedMlp | FusedHead | None]] = {}

    def compute(
        self,
        name: str,
        device: str,
        weights: Mapping[str, Weight],
        x: Tensor,
        rope: Rope,
        cache: KeysAndValues | None,
        start: int | tuple[int, ...],
    ) -> Tensor | None:
        """Return what block `name` makes of `x`, in float32; None where only the layers compute it.

        `x` (batch, tokens, hidden) is used up; for the head it is (batch, hidden) or more, and logits come back.
        """
        if device != "cpu" or x.numel() > FUSED_TOKENS * x.shape[-1] or not weights:
            return None
        call = self._call(name, weights, cache)
        if call is None:
            return None
        if x.dtype != torch.float32 or not x.is_contiguous():
            x = x.to(torch.float32).contiguous()
        if isinstance(call, FusedHead):
            return call(x)
        if isinstance(call, FusedMlp):
            call(x)
            return x
        assert cache is not None, f"{name} has no KV cache"
        cos, sin = rope.tables(start, x.shape[1])  # type: ignore[arg-type, unused-ignore]
        call(x, cos, sin, *cache, start)
        return x

    def compute_run(
        self,
        names: Sequence[str],
        weights: Sequence[Mapping[str, Weight]],
        x: Tensor,
        rope: Rope,
        caches: Sequence[KeysAndValues | None],
        start: int | tuple[int, ...],
    ) -> tuple[Tensor, list[float]] | None:
        """Return what layers that follow each other on the CPU make of `x`, used up, and the seconds of each.

        None where not all of them are compiled calls for so many tokens.
        """
        if x.numel() > FUSED_TOKENS * x.shape[-1] or not all(weights):
            return None
        run = self._run(names, weights, caches)
        if run is None:
            return None
        x = x.to(torch.float32).contiguous()
        cos, sin = rope.tables(start, x.shape[1])
        for call, cache in zip(run.calls, caches, strict=True):
            if isinstance(call, FusedAttention) and cache is not None:
                call.prepare(x, cos, sin, *cache, start)
        return x, run(x)

    def _run(
        self, names: Sequence[str], weights: Sequence[Mapping[str, Weight]], caches: Sequence[KeysAndValues | None]
    ) -> FusedRun | None:
        if names[0] not in self._runs:
            calls = [self._call(*one) for one in zip(names, weights, caches, strict=True)]
            plain = [call for call in calls if isinstance(call, FusedAttention | FusedMlp)]
            self._runs[names[0]] = FusedRun(plain) if len(plain) == len(calls) else None
        return self._runs[names[0]]

    def _call(
        self, name: str, weights: Mapping[str, Weight], cache: KeysAndValues | None
    ) -> FusedAttention | FusedMlp | FusedHead | None:
        latest = self._latest.get(name)
        if latest is not None and latest[0] is weights:  # a resident block; a staging slot's weights are new each time
            return latest[1]
        first = next(iter(weights.values()))
        key = name, first.data_ptr() if isinstance(first, Tensor) else first.data.data_ptr()
        if key not in self._calls:
            self._calls[key] = fused_block(self._config, name, weights, None if cache is None else cache[0])
        self._latest[name] = weights, self._calls[key]
        return self._calls[key]

    def clear(self) -> None:
        """Forget every call; the buffers may go."""
        self._calls.clear()
        self._runs.clear()
        self._latest.clear()
