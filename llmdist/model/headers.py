"""Where each tensor lies in a safetensors file, from the header alone.

A safetensors file is an 8-byte little-endian length, that many bytes of JSON, then the data. Only
the first two are read. Every number is checked against the file before anyone reads by it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelError
from .packed import Codec

__all__ = ["TensorEntry", "read_header", "read_json"]

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_MAX_HEADER = 100_000_000  # the format's own limit
_AGAIN = "download or copy the file again."


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One stored tensor: `nbytes` bytes at the absolute `offset` of the file `path`.

    With a `codec` those bytes are no plain numbers of `dtype`, and only the codec can read them.
    """

    name: str
    path: Path
    offset: int
    nbytes: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    codec: Codec | None = None

    def rows(self, first: int, count: int) -> TensorEntry:
        """Return the entry of `count` rows from row `first` on: they lie together in the file."""
        if self.codec is not None:
            raise ModelError(
                f"Tensor {self.name!r} in {self.path} is both quantised and stacked of several matrices, which llmdist "
                "does not take apart: use the bf16 version of the model."
            )
        row = self.nbytes // self.shape[0]
        shape = (count, *self.shape[1:])
        return replace(self, offset=self.offset + first * row, nbytes=count * row, shape=shape)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): check the folder.") from error
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error}): {_AGAIN}") from error
    if not isinstance(data, dict):
        raise ModelError(f"{path} holds a JSON {type(data).__name__} where an object is needed: {_AGAIN}")
    return data


def read_header(path: Path) -> dict[str, TensorEntry]:
    """Return every tensor of a safetensors file by name.

    Raises
    ------
    ModelError : when the file is missing, cut off, or its header is not what the format says.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            start = file.read(8)
            length = _header_length(path, start, size)
            raw = file.read(length)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): check the folder.") from error
    try:
        header = json.loads(raw)
    except ValueError as error:
        raise ModelError(f"The header of {path} ({length} bytes) is not valid JSON ({error}): {_AGAIN}") from error
    if not isinstance(header, dict):
        raise ModelError(f"The header of {path} is a JSON {type(header).__name__}, not an object: {_AGAIN}")
    header.pop("__metadata__", None)
    return {name: _entry(path, name, fields, 8 + length, size) for name, fields in header.items()}


def _header_length(path: Path, start: bytes, size: int) -> int:
    if start == b"version ":
        raise ModelError(f"{path} is a git-lfs pointer of {size} bytes, not the weights: run `git lfs pull`.")
    if len(start) < 8:
        raise ModelError(
            f"{path} is truncated: it has {size} bytes, and a safetensors file starts with 8 bytes "
            f"of header length; {_AGAIN}"
        )
    length = int.from_bytes(start, "little")
    if length > size - 8 or length > _MAX_HEADER:
        raise ModelError(
            f"{path} announces a header of {length} bytes, longer than the file's remaining {size - 8} bytes "
            f"or the format's limit of {_MAX_HEADER}: it is truncated or not safetensors; {_AGAIN}"
        )
    return length


def _entry(path: Path, name: str, fields: Any, data_start: int, size: int) -> TensorEntry:
    """Return one header entry, after checking it against the size of the file."""
    if not isinstance(fields, Mapping) or not _numbers(fields.get("shape")):
        raise ModelError(f"The header of {path} gives tensor {name!r} no shape of whole numbers: {_AGAIN}")
    offsets: Any = fields.get("data_offsets")
    if not _numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ModelError(f"The header of {path} gives tensor {name!r} the offsets {offsets!r}: {_AGAIN}")
    stored = fields.get("dtype")
    if not isinstance(stored, str) or stored not in _DTYPES:
        raise ModelError(
            f"Tensor {name!r} in {path} has the type {stored!r}, which llmdist does not read: "
            "use the fp32, bf16 or fp16 version of the model."
        )
    begin, end = offsets
    if data_start + end > size:
        raise ModelError(
            f"{path} is truncated: tensor {name!r} ends at byte {data_start + end}, "
            f"and the file has {size} bytes; {_AGAIN}"
        )
    shape, dtype = tuple(fields["shape"]), _DTYPES[stored]
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise ModelError(
            f"Tensor {name!r} in {path} has shape {list(shape)} of {stored}, {math.prod(shape) * dtype.itemsize} "
            f"bytes, and the offsets of {end - begin} bytes: {_AGAIN}"
        )
    return TensorEntry(name, path, data_start + begin, end - begin, shape, dtype)


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
