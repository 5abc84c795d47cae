"""Two placements of one problem side by side: both predictions, and the blocks that differ."""

from __future__ import annotations

from dataclasses import dataclass

from llmdist.planner import Placement, Prediction
from llmdist.units import format_bytes, format_seconds, format_speed

__all__ = ["Comparison"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The draft against another placement of the same problem."""

    name: str
    placement: Placement
    prediction: Prediction
    draft: Prediction
    changed: tuple[str, ...]

    def differing(self) -> str:
        """Return how many blocks differ: ``1 block differs``."""
        return "1 block differs" if len(self.changed) == 1 else f"{len(self.changed)} blocks differ"

    def summary(self) -> str:
        """Return both predictions and what differs, as text."""
        rows = [f"{'':12}{'tokens/s':>10}{'per token':>12}{'first':>12}{'copied':>12}"]
        for name, p in (("draft", self.draft), (self.name[:11], self.prediction)):
            rows.append(
                f"{name:12}{format_speed(p.tokens_per_second):>10}{format_seconds(p.tpot_seconds):>12}"
                f"{format_seconds(p.ttft_seconds):>12}{format_bytes(p.bytes_per_token):>12}"
            )
        shown = ", ".join(self.changed[:8]) + (" ..." if len(self.changed) > 8 else "")
        rows.append(self.differing() + (f": {shown}" if self.changed else ""))
        return "\n".join(rows)
