"""Quantised matrices: how int8 and int4 weights lie in memory, and what they mean.

`pack` and `PackedMatrix.dequantise` are the definition; the kernels compute with the same bytes. Weights are symmetric
and stand in panels of 8 rows, so that one vector register holds 8 rows side by side and no sum crosses lanes.

int8, per row: 8 float32 scales, then two columns of each row in turn (row 0, row 0, row 1, row 1, ...).
int4, for each group of 32, 64 or 128 columns: 8 float16 scales, then 8 columns of each row in turn, four bytes a row:
the first four columns in the lower half bytes, the next four in the upper. A stored 0..15 means -8..7.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["GROUPS", "PANEL", "PackedMatrix", "pack", "packed_bytes", "padded_columns", "panel_bytes"]

PANEL = 8
GROUPS = (32, 64, 128)
_BITS = {"int8": 8, "int4": 4}


def padded_columns(columns: int, group: int) -> int:
    """Return the columns that are stored: whole groups (int8 counts as groups of 32)."""
    return -(-columns // group) * group


def panel_bytes(precision: str, columns: int, group: int) -> int:
    """Return the bytes of one panel of 8 rows."""
    stored = padded_columns(columns, group)
    scales = 4 * PANEL if precision == "int8" else 2 * PANEL * (stored // group)
    return scales + stored * _BITS[precision]


def packed_bytes(precision: str, rows: int, columns: int, group: int = 32) -> int:
    """Return the bytes of a packed matrix (rows, columns), scales and padding included."""
    return -(-rows // PANEL) * panel_bytes(precision, columns, group)


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """A quantised weight matrix; `data` (uint8, contiguous) may be a part of a larger buffer.

    `precision` is ``int8`` or ``int4``; `group` is the number of columns that share a scale in int4, 32 in int8.
    """

    data: Tensor
    precision: str
    rows: int
    columns: int
    group: int = 32

    def __post_init__(self) -> None:
        if self.precision not in _BITS or self.group not in GROUPS:
            raise ValueError(f"precision {self.precision} and group {self.group} are not int8 or int4 and {GROUPS}")
        wanted = packed_bytes(self.precision, self.rows, self.columns, self.group)
        if self.data.dtype != torch.uint8 or self.data.numel() != wanted or not self.data.is_contiguous():
            raise ValueError(f"{self.data.numel()} bytes of {self.data.dtype} are not a matrix of {wanted} bytes")

    @property
    def shape(self) -> tuple[int, int]:
        """Return (rows, columns)."""
        return self.rows, self.columns

    def rows_between(self, first: int, last: int) -> PackedMatrix:
        """Return rows [first, last) as a view; `first` must be a multiple of 8."""
        if first % PANEL:
            raise ValueError(f"row {first} does not start a panel of {PANEL}")
        size = panel_bytes(self.precision, self.columns, self.group)
        part = self.data[first // PANEL * size : -(-last // PANEL) * size]
        return PackedMatrix(part, self.precision, last - first, self.columns, self.group)

    def dequantise(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the weights (rows, columns) that the bytes stand for."""
        stored = padded_columns(self.columns, self.group)
        panels = self.data.view(-1, panel_bytes(self.precision, self.columns, self.group))
        if self.precision == "int8":
            scales = panels[:, : 4 * PANEL].contiguous().view(torch.float32)  # (panels, 8)
            values = panels[:, 4 * PANEL :].view(torch.int8).view(-1, stored // 2, PANEL, 2)
            weights = values.transpose(1, 2).reshape(-1, PANEL, stored).float() * scales[..., None]
        else:
            groups = stored // self.group
            panels = panels.view(len(panels), groups, -1)
            scales = panels[..., : 2 * PANEL].contiguous().view(torch.float16)  # (panels, groups, 8)
            pairs = panels[..., 2 * PANEL :].reshape(-1, stored // 8, PANEL, 1, 4)
            values = torch.cat((pairs & 15, pairs >> 4), dim=3).to(torch.int8) - 8
            values = values.transpose(1, 2).reshape(-1, PANEL, groups, self.group)
            weights = (values.float() * scales.transpose(1, 2).float()[..., None]).flatten(2)
        return weights.flatten(0, 1)[: self.rows, : self.columns].to(dtype)


def pack(weight: Tensor, precision: str, group: int = 32, out: Tensor | None = None) -> PackedMatrix:
    """Return `weight` (rows, columns), rounded to `precision`; `out` (uint8) takes the bytes where given.

    int8: scale = largest / 127. int4: the weight of largest size in a group becomes -8, the others are rounded.
    """
    rows, columns = weight.shape
    padded = torch.zeros(-(-rows // PANEL) * PANEL, padded_columns(columns, group), dtype=torch.float32)
    padded[:rows, :columns] = weight
    if out is None:
        out = torch.empty(packed_bytes(precision, rows, columns, group), dtype=torch.uint8)
    panels = out.view(-1, panel_bytes(precision, columns, group))
    (_pack_int8 if precision == "int8" else _pack_int4)(padded, group, panels)
    return PackedMatrix(out, precision, rows, columns, group)


def _pack_int8(weight: Tensor, group: int, panels: Tensor) -> None:
    scales = weight.abs().amax(1) / 127
    values = (weight / scales.clamp_min(1e-30)[:, None]).round().clamp(-127, 127).to(torch.int8)
    panels[:, : 4 * PANEL] = scales.view(-1, PANEL).view(torch.uint8)
    order = values.view(-1, PANEL, weight.shape[1] // 2, 2).transpose(1, 2)
    panels[:, 4 * PANEL :] = order.reshape(len(panels), -1).view(torch.uint8)


def _pack_int4(weight: Tensor, group: int, panels: Tensor) -> None:
    grouped = weight.view(len(weight), -1, group)
    extreme = grouped.gather(2, grouped.abs().argmax(2, keepdim=True))
    scales = (extreme / -8).half()
    inverse = torch.where(scales == 0, 0.0, 1 / scales.float())
    values = (grouped * inverse).round().clamp(-8, 7).add(8).to(torch.uint8)
    groups = grouped.shape[1]
    order = values.view(len(panels), PANEL, groups, group // 8, 2, 4).permute(0, 2, 3, 1, 4, 5)
    target = panels.view(len(panels), groups, -1)
    target[..., : 2 * PANEL] = scales.view(-1, PANEL, groups).transpose(1, 2).contiguous().view(torch.uint8)
    target[..., 2 * PANEL :] = (order[..., 0, :] | order[..., 1, :] << 4).flatten(2)
