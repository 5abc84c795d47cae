"""The unit that is placed: a block is the embedding, one attention, one MLP, or the head.

A block knows its sizes, never its weights. All counts are per block; bytes follow from a precision.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["BYTES_PER_PARAMETER", "EXECUTABLE_PRECISIONS", "Block", "ModelProfile"]

#: Bytes that one weight takes, scales included (int8: per output channel; int4: groups of 128).
BYTES_PER_PARAMETER = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.004, "int4": 0.516}
EXECUTABLE_PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True, slots=True)
class Block:
    """One placeable unit.

    `name` is ``embed``, ``layers.3.attention``, ``layers.3.mlp`` or ``head``; `kind` is ``embed``,
    ``attention``, ``mlp`` or ``head``. `parameters` counts the weights that the block owns (0 for an
    embedding that is tied to the head: its rows are read from the head or the file).
    `parameters_per_token` counts the weights that one decode step reads (an embedding: one row).
    `flops_per_token` is 2 x the multiplied weights; `kv_elements_per_token` counts K and V elements
    kept per token (attention only); `attention_flops_per_context` are FLOP per token of context.
    """

    name: str
    kind: str
    parameters: int
    parameters_per_token: int
    flops_per_token: float
    kv_elements_per_token: int = 0
    attention_flops_per_context: float = 0.0

    def weight_bytes(self, precision: str) -> int:
        """Return the bytes of the block's weights at `precision`."""
        return int(self.parameters * BYTES_PER_PARAMETER[precision])


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """What the planner needs to know of a model; no weights, no file names."""

    name: str
    blocks: tuple[Block, ...]
    hidden_size: int
    vocab_size: int
    max_context: int
    precision: str  # the checkpoint's own

    @property
    def parameters(self) -> int:
        """Return the number of weights of the whole model."""
        return sum(block.parameters for block in self.blocks)

    def to_json(self) -> dict[str, Any]:
        """Return the profile as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ModelProfile:
        """Return the profile that `to_json` wrote."""
        return cls(**{**data, "blocks": tuple(Block(**block) for block in data["blocks"])})
