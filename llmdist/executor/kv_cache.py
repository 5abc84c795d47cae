"""The static KV cache: keys and values of every attention block, allocated once where it executes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..model.config import ModelConfig
from ..planner.placement import Placement

__all__ = ["KVCache"]


class KVCache:
    """Keys and values, each (batch, num_kv_heads, context, head_dim) per attention block."""

    def __init__(
        self, config: ModelConfig, placement: Placement, batch: int, context: int, dtype: torch.dtype,
        place: Callable[[str], torch.device] = torch.device,
    ) -> None:  # fmt: skip
        self._place = place
        shape = (batch, config.num_kv_heads, context, config.head_dim)
        self.context, self.batch = context, batch
        self._cache: dict[str, tuple[Tensor, Tensor]] = {
            name: (
                torch.zeros(shape, dtype=dtype, device=place(choice.exec_device)),
                torch.zeros(shape, dtype=dtype, device=place(choice.exec_device)),
            )
            for name, choice in placement.items()
            if name.endswith(".attention")
        }

    def __getitem__(self, block: str) -> tuple[Tensor, Tensor]:
        return self._cache[block]

    def move(self, placement: Placement) -> None:
        """Bring each block's cache to the device on which it executes now."""
        for name, choice in placement.items():
            if name in self._cache:
                keys, values = self._cache[name]
                self._cache[name] = keys.to(self._place(choice.exec_device)), values.to(self._place(choice.exec_device))

    @property
    def nbytes(self) -> int:
        """Return the bytes of all keys and values."""
        return sum(k.nbytes + v.nbytes for k, v in self._cache.values())
