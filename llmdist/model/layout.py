"""Where each tensor of a block lies in the block's one buffer, at any precision: sizes alone, no files.

The planner counts bytes with it and the executor allocates by it, so the two agree to the byte. Matrices that are
multiplied with the same activations (q, k, v; gate, up) follow each other without a gap: a kernel may take them as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ..kernels.packing import PackedMatrix, packed_bytes

__all__ = ["QUANTISED", "TORCH_DTYPES", "TensorSlot", "block_bytes", "block_slots", "slot_view"]

TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
#: Precision -> columns that share a scale (int8 has one scale for a whole row).
QUANTISED = {"int8": 32, "int4": 32}
_ALIGNMENT = 64
_FOLLOWERS = ("k", "v", "up", "k_bias", "v_bias")  # lie right behind the tensor before


@dataclass(frozen=True, slots=True)
class TensorSlot:
    """A tensor of `shape` at `offset` of the buffer; `form` is a torch type, or ``int8`` or ``int4``."""

    shape: tuple[int, ...]
    offset: int
    nbytes: int
    form: torch.dtype | str


def block_slots(shapes: Mapping[str, tuple[int, ...]], form: torch.dtype | str) -> dict[str, TensorSlot]:
    """Return the slots of a block's tensors at `form`: a torch type, or a precision.

    At a quantised precision matrices are packed; norms, biases and a router's gate stay float32, and an embedding
    (whose rows are looked up, not multiplied) stays bf16.
    """
    form = TORCH_DTYPES.get(form, form) if isinstance(form, str) else form
    routes = "gate" in shapes and "up" not in shapes
    slots: dict[str, TensorSlot] = {}
    end = 0
    for name, shape in shapes.items():
        own, nbytes = _form(name, shape, form, routes)
        start = end if name in _FOLLOWERS else -(-end // _ALIGNMENT) * _ALIGNMENT
        slots[name] = TensorSlot(shape, start, nbytes, own)
        end = start + nbytes
    return slots


def _form(name: str, shape: tuple[int, ...], form: torch.dtype | str, routes: bool) -> tuple[torch.dtype | str, int]:
    if isinstance(form, torch.dtype):
        dtype = form
    elif name == "weight":
        dtype = torch.bfloat16
    elif len(shape) == 2 and not routes:
        return form, packed_bytes(form, shape[0], shape[1], QUANTISED[form])
    else:
        dtype = torch.float32
    return dtype, prod(shape) * dtype.itemsize


def block_bytes(slots: Mapping[str, TensorSlot]) -> int:
    """Return the bytes of the buffer, a multiple of 64."""
    end = max((slot.offset + slot.nbytes for slot in slots.values()), default=0)
    return -(-end // _ALIGNMENT) * _ALIGNMENT


def slot_view(slot: TensorSlot, buffer: Tensor) -> Tensor | PackedMatrix:
    """Return the tensor in `buffer` (uint8)."""
    part = buffer[slot.offset : slot.offset + slot.nbytes]
    if isinstance(slot.form, str):
        rows, columns = slot.shape
        return PackedMatrix(part, slot.form, rows, columns, QUANTISED[slot.form])
    return part.view(slot.form).view(slot.shape)
