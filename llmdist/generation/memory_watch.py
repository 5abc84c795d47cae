"""Watches the machine's free memory during a generation, so that the engine shrinks before the system kills it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

__all__ = ["RESERVE_BYTES", "MemoryWatch"]

#: Free memory that is left to the system and to the notebook.
RESERVE_BYTES = 256 << 20


class MemoryWatch:
    """Tells by how much free memory falls short of what the engine may still take.

    Parameters
    ----------
    free : returns the bytes that the system, or the control group, can still give.
    period : seconds between two looks; asking costs about 0.1 ms.
    """

    def __init__(self, free: Callable[[], int], period: float = 0.5) -> None:
        self._free, self._period = free, period
        self._looked = float("-inf")

    def shortage(self, planned: int, used: Mapping[str, int]) -> int:
        """Return the bytes to give up: planned - used - free + reserve, where above 0; 0 between two looks.

        Parameters
        ----------
        planned : peak bytes in the machine's memory by the plan in force.
        used : bytes in use now per device, as a step tells them.
        """
        now = time.monotonic()
        if now - self._looked < self._period:
            return 0
        self._looked = now
        growth = max(0, planned - used.get("cpu", 0))  # what the plan holds and the engine has not touched yet
        return max(0, growth + RESERVE_BYTES - self._free())
