"""Cuts the tokens of a pass into micro-batches that go through each block one after the other.

Streamed weights are then read once for all of them (the zig-zag order of FlexGen, Sheng et al. 2023). A long
prompt becomes chunks, prompts of equal length go together, and one token of each of many sequences is one
micro-batch. Pure: what is cut depends on lengths alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.compute import Activation

__all__ = ["MicroBatch", "cut", "passes"]


@dataclass(slots=True)
class MicroBatch:
    """`tokens` (rows, count) int64 of the sequences from `first_row`.

    `start` is the position of the first token: one number, or one per sequence where they differ. `last`:
    the sequences' tokens of this request end here. `x` is what the block before left.
    """

    first_row: int
    tokens: Tensor
    start: int | tuple[int, ...]
    last: bool
    x: Activation

    @property
    def hidden(self) -> Tensor:
        """Return `x` where it is the residual stream, as before the head."""
        assert isinstance(self.x, Tensor), "experts are still computing"
        return self.x

    @property
    def rows(self) -> slice:
        """Return the sequences as a slice of the batch."""
        return slice(self.first_row, self.first_row + self.tokens.shape[0])


def cut(tokens: Sequence[Sequence[int]], starts: Sequence[int], chunk: int) -> list[MicroBatch]:
    """Return the micro-batches of `tokens`, one list per sequence, from position `starts[i]`.

    No micro-batch has more than `chunk` tokens; a sequence's chunks come in order.
    """
    result: list[MicroBatch] = []
    row = 0
    while row < len(tokens):
        count = len(tokens[row])
        if count > chunk:
            result += _chunks(row, tokens[row], starts[row], chunk)
            row += 1
            continue
        end = row + 1
        while end < len(tokens) and len(tokens[end]) == count and (end + 1 - row) * count <= chunk:
            end += 1
        together = torch.tensor([list(t) for t in tokens[row:end]])
        same = len(set(starts[row:end])) == 1
        start = starts[row] if same else tuple(starts[row:end])
        result.append(MicroBatch(row, together, start, True, together))
        row = end
    return result


def _chunks(row: int, tokens: Sequence[int], start: int, chunk: int) -> list[MicroBatch]:
    result = []
    for first in range(0, len(tokens), chunk):
        part = torch.tensor([list(tokens[first : first + chunk])])
        result.append(MicroBatch(row, part, start + first, first + chunk >= len(tokens), part))
    return result


def passes(batches: Sequence[MicroBatch], tokens: int) -> list[list[MicroBatch]]:
    """Group micro-batches in order, so that no group but a single one has more than `tokens` tokens."""
    result: list[list[MicroBatch]] = []
    held = 0
    for batch in batches:
        size = batch.tokens.numel()
        if not result or held + size > tokens:
            result.append([])
            held = 0
        result[-1].append(batch)
        held += size
    return result
