"""Counts the weights that a load brings in, block by block, for whoever watches."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Arrivals", "Report"]

#: Called with bytes done, bytes in all, the precision that was just made (or nothing), whether it is kept.
Report = Callable[[int, int, str, bool], None]


class Arrivals:
    """Reports the start of a load and every block that arrived; nothing where there is nothing to bring."""

    def __init__(self, report: Report | None, total_bytes: int) -> None:
        self._report, self._done, self._total = report, 0, total_bytes
        self._say()

    def arrived(self, nbytes: int, made: str = "", kept: bool = True) -> None:
        """Count a block of `nbytes`, quantised to `made` on the way if that is not empty."""
        self._done += nbytes
        self._say(made, kept)

    def _say(self, made: str = "", kept: bool = True) -> None:
        if self._report is not None and self._total:
            self._report(self._done, self._total, made, kept)
