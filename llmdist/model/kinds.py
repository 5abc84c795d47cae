"""What may differ from layer to layer, as data: how positions rotate, how far a token looks back.

Nothing here computes. `RopeKind` is turned into tables by `rope.py`; `LayerKind` is read by whoever calls
the functions of `layers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LayerKind", "RopeKind"]


@dataclass(frozen=True, slots=True)
class RopeKind:
    """One rotary embedding: base `theta`, the first `dims` elements of each head, and how it is stretched.

    `type` is one of `ROPE_TYPES`; `numbers` are its parameters under the names of the field
    (``factor``, ``original_max_position_embeddings``, ...).
    """

    theta: float
    dims: int
    type: str = "default"
    numbers: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class LayerKind:
    """One layer: tokens it looks back on (`window`, itself included; None is all) and its rotary embedding.

    `rope` is an index into `ModelConfig.ropes`; None is a layer without positions (NoPE). A `routed` layer has
    experts instead of an MLP.
    """

    window: int | None = None
    rope: int | None = 0
    routed: bool = False
