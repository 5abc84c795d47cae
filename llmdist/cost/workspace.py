"""What an engine holds besides weights, KV cache and slots: activations, logits, and the reader's pieces.

The executor cuts its work by the same numbers that the plan counts with, so that the two cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..kernels.linear import CHUNK_ELEMENTS
from ..model.blocks import Block
from ..model.reader import DEPTH, PIECE_BYTES

__all__ = ["CHUNK_TOKENS", "DRAFT_TOKENS", "pass_tokens", "piece_bytes", "workspace_bytes"]

#: Tokens that go through one block together: bounds the inner activations.
CHUNK_TOKENS = 256
#: The most tokens that speculation may guess at once.
DRAFT_TOKENS = 15
_RESIDUAL_BYTES = 32 << 20


def pass_tokens(hidden_size: int) -> int:
    """Return how many tokens may wait between two blocks in one pass, their hidden states in float32 at worst."""
    return max(CHUNK_TOKENS, _RESIDUAL_BYTES // (4 * hidden_size))


def piece_bytes(largest_block: int) -> int:
    """Return the reader's piece for blocks of at most `largest_block` bytes: a small model gets small pieces."""
    piece = 1 << 16
    while piece < PIECE_BYTES and piece * DEPTH < largest_block:
        piece *= 2
    return piece


def workspace_bytes(
    blocks: Sequence[Block], hidden_size: int, vocab_size: int, context: int, batch: int, precision: str,
    quantised: bool = False, int8_cache: bool = False,
) -> int:  # fmt: skip
    """Return the bytes of workspace on an exec device, float32 at worst; more if weights or the cache are in bits."""
    tokens = min(CHUNK_TOKENS, context * batch)
    waiting = min(pass_tokens(hidden_size), context * batch)
    widest = max((b.parameters // hidden_size for b in blocks if b.kind == "mlp"), default=0)
    vectors = max(((b.kv_elements_per_token, b.kv_vectors_per_token) for b in blocks), default=(0, 0))
    largest = max((b.weight_bytes(precision) for b in blocks if b.kind != "embed"), default=0)
    return int(
        4 * tokens * (widest + 6 * hidden_size)  # gate, up, down and what norms and heads make of one chunk
        + 4 * waiting * hidden_size  # hidden states between two blocks
        + 4 * min(CHUNK_TOKENS, context) * context  # the causal mask
        + 8 * vocab_size * max(batch, 1 + DRAFT_TOKENS)  # logits twice
        + DEPTH * piece_bytes(largest)  # pieces on their way from the disk
        + 6 * min(CHUNK_ELEMENTS, largest // 2) * quantised  # unpacked for many tokens, and the library's own order
        + 8 * context * batch * vectors[0] // max(1, vectors[1]) * int8_cache  # keys and values of one head as numbers
    )
