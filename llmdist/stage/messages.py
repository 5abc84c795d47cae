"""What the driver and a stage say to each other: small frozen records, one reply per request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..events import BlockComputed, CopyFinished
from ..planner.placement import Placement

__all__ = ["Applied", "Apply", "Failed", "Forward", "Load", "Loaded", "Message", "Reply", "Stepped", "Working"]


@dataclass(frozen=True, slots=True)
class Load:
    """Open the checkpoint in `folder` and bring it into `placement`; `kv` is the KV cache's precision."""

    folder: str
    placement: Placement
    context: int
    batch: int
    slots: int
    streaming: bool
    kv: str = ""


@dataclass(frozen=True, slots=True)
class Apply:
    """Move to another placement between two passes; the KV cache stays."""

    placement: Placement


@dataclass(frozen=True, slots=True)
class Forward:
    """Run each sequence's `tokens` from its position in `starts`; lengths may differ.

    Answered for the last `keep` tokens of each sequence. With `greedy` only the best token ids come back.
    """

    tokens: tuple[tuple[int, ...], ...]
    starts: tuple[int, ...]
    greedy: bool
    keep: int = 1


@dataclass(frozen=True, slots=True)
class Loaded:
    """The checkpoint is in place. `memory_bytes`: used above the empty process, per device; `note`: for the user."""

    memory_bytes: Mapping[str, int]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """The new placement is in force; fields as in `Loaded`."""

    memory_bytes: Mapping[str, int]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Stepped:
    """One pass is done: `token_ids` when greedy, else float32 `logits` (rows, vocab_size) as bytes.

    Row i * keep + j is what sequence i predicts after the j-th of its last `keep` tokens.
    """

    token_ids: tuple[int, ...] | None
    logits: bytes | None
    rows: int
    bytes_moved: int
    memory_bytes: Mapping[str, int]
    peak_bytes: Mapping[str, int]
    copies: tuple[CopyFinished, ...]
    computes: tuple[BlockComputed, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """The request failed. `kind`: ``user`` (one clear sentence), ``memory`` or ``bug`` (a traceback)."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Working:
    """A load or a move goes on; said before its reply, at its start and after every block.

    `made` is the precision to which the last block was quantised, if it was; `kept` whether such blocks are kept.
    """

    done_bytes: int
    total_bytes: int
    made: str = ""
    kept: bool = True


Message = Load | Apply | Forward
Reply = Loaded | Applied | Stepped | Failed
