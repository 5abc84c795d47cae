"""The static KV cache: keys and values of every attention block, allocated once where it executes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..kernels.int8_cache import Int8Cache
from ..model.config import ModelConfig
from ..planner.placement import Placement

__all__ = ["KVCache"]


class KVCache:
    """Keys and values, each (batch, num_kv_heads, context, head_dim) per attention block.

    `kind` is a torch type, or ``int8`` for 8 bits with a scale per token and head.
    """

    def __init__(
        self, config: ModelConfig, placement: Placement, batch: int, context: int, kind: torch.dtype | str,
        place: Callable[[str], torch.device] = torch.device,
    ) -> None:  # fmt: skip
        self._place = place
        shape = (batch, config.num_kv_heads, context, config.head_dim)
        self.context, self.batch = context, batch
        self._cache: dict[str, tuple[Tensor, Tensor] | tuple[Int8Cache, Int8Cache]] = {
            name: _pair(shape, kind, str(place(choice.exec_device)))
            for name, choice in placement.items()
            if name.endswith(".attention")
        }

    def __getitem__(self, block: str) -> tuple[Tensor, Tensor] | tuple[Int8Cache, Int8Cache]:
        return self._cache[block]

    def rows(self, block: str, rows: slice) -> tuple[Tensor, Tensor] | tuple[Int8Cache, Int8Cache]:
        """Return keys and values of some sequences; all of them need no view, which a decode step would feel."""
        keys, values = self._cache[block]
        if rows.start == 0 and rows.stop == self.batch:
            return keys, values  # type: ignore[return-value]
        return keys[rows], values[rows]  # type: ignore[return-value]

    def move(self, placement: Placement) -> None:
        """Bring each block's cache to the device on which it executes now."""
        for name, choice in placement.items():
            if name in self._cache:
                keys, values = self._cache[name]
                place = str(self._place(choice.exec_device))
                self._cache[name] = keys.to(place), values.to(place)  # type: ignore[assignment]

    @property
    def nbytes(self) -> int:
        """Return the bytes of all keys and values."""
        return sum(k.nbytes + v.nbytes for k, v in self._cache.values())


def _pair(
    shape: tuple[int, int, int, int], kind: torch.dtype | str, device: str
) -> tuple[Tensor, Tensor] | tuple[Int8Cache, Int8Cache]:
    if isinstance(kind, str):
        return Int8Cache.empty(shape, device), Int8Cache.empty(shape, device)
    return torch.zeros(shape, dtype=kind, device=device), torch.zeros(shape, dtype=kind, device=device)
