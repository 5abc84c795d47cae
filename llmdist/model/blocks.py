"""The unit that is placed: a block is the embedding, one attention, one MLP, or the head.

A block knows its sizes, never its weights. All counts are per block; bytes follow from a precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["BYTES_PER_PARAMETER", "EXECUTABLE_PRECISIONS", "PLAIN_PRECISIONS", "Block", "ModelProfile"]

#: Bytes that one weight takes, scales included (int8: one per output channel; int4: one per group of 32).
BYTES_PER_PARAMETER = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.002, "int4": 0.5625}
PLAIN_PRECISIONS = ("fp32", "bf16", "fp16")
_SCALE_BYTES = 2  # of a key or value vector in an int8 KV cache (`kernels.int8_cache`)
EXECUTABLE_PRECISIONS = (*PLAIN_PRECISIONS, "int8", "int4")


@dataclass(frozen=True, slots=True)
class Block:
    """One placeable unit.

    `name` is ``embed``, ``layers.3.attention``, ``layers.3.mlp`` or ``head``; `kind` is ``embed``,
    ``attention``, ``mlp`` or ``head``. A mixture-of-experts layer has ``layers.3.router`` (norm and gate) and
    ``layers.3.experts.0`` .. (kind ``experts``: a group of `experts` experts, each of which one token is routed
    to with probability `routed_share` = top_k / E) instead of the MLP.
    A model that transformers computes has whole layers, ``layers.3.block`` of kind ``layer``.
    `parameters` counts the weights that the block owns (0 for an
    embedding that is tied to the head: its rows are read from the head or the file).
    `parameters_per_token` counts the weights that one decode step reads (an embedding: one row).
    `flops_per_token` is 2 x the multiplied weights; `kv_elements_per_token` counts K and V elements
    kept per token (attention only), in `kv_vectors_per_token` vectors of one head each;
    `attention_flops_per_context` are FLOP per token of context.
    `stored_bytes` are the exact bytes per precision, known where the block's tensors are (see `model.layout`).
    """

    name: str
    kind: str
    parameters: int
    parameters_per_token: int
    flops_per_token: float
    kv_elements_per_token: int = 0
    attention_flops_per_context: float = 0.0
    experts: int = 0
    routed_share: float = 1.0
    stored_bytes: Mapping[str, int] = field(default_factory=dict, hash=False)
    kv_vectors_per_token: int = 0

    def kv_bytes_per_token(self, precision: str) -> float:
        """Return the bytes of KV cache per token; in int8 each vector has a scale of its own."""
        if precision == "int8":
            return self.kv_elements_per_token + _SCALE_BYTES * self.kv_vectors_per_token
        return self.kv_elements_per_token * BYTES_PER_PARAMETER[precision]

    def weight_bytes(self, precision: str) -> int:
        """Return the bytes of the block's weights at `precision`: exact where known, else by the mean per weight."""
        exact = self.stored_bytes.get(precision)
        return exact if exact is not None else int(self.parameters * BYTES_PER_PARAMETER[precision])

    def active_share(self, rows: float) -> float:
        """Return the expected share of the weights that `rows` tokens touch: 1 - (1 - top_k / E) ** rows."""
        return float(1.0 - (1.0 - self.routed_share) ** rows)

    def hit_share(self, rows: float) -> float:
        """Return the probability that at least one expert of the block is touched by `rows` tokens."""
        return float(1.0 - (1.0 - self.routed_share) ** (rows * max(1, self.experts)))

    def parameters_read(self, rows: float) -> float:
        """Return the weights that a pass of `rows` tokens reads: an embedding's rows, routed experts, or all."""
        if self.kind == "embed":
            return self.parameters_per_token * rows
        return self.parameters * self.active_share(rows) if self.kind == "experts" else self.parameters_per_token


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """What the planner needs to know of a model; no weights, no file names.

    `shares_mlp`: a GPU and its CPU can compute an MLP together.
    """

    name: str
    blocks: tuple[Block, ...]
    hidden_size: int
    vocab_size: int
    max_context: int
    precision: str  # the checkpoint's own
    shares_mlp: bool = False

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
