"""Safetensors that GPTQ or AWQ quantised to 4 bits: the parts of one matrix under the name of the whole.

``quantization_config`` in ``config.json`` says the method; a matrix ``x.weight`` is stored as ``x.qweight``,
``x.qzeros``, ``x.scales`` and for GPTQ ``x.g_idx``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..errors import ModelError
from .headers import TensorEntry
from .packed import AwqRows, Codec, GptqRows, RawTensor

__all__ = ["METHODS", "join_quantised"]

METHODS = ("gptq", "awq")


def join_quantised(settings: Mapping[str, Any], entries: Mapping[str, TensorEntry]) -> dict[str, TensorEntry]:
    """Return `entries` with the parts of each quantised matrix joined; ModelError for what is not read."""
    method, bits = settings.get("quant_method"), settings.get("bits", settings.get("w_bit", 4))
    version = str(settings.get("version", "gemm")).lower()
    if method not in METHODS or bits != 4 or (method == "awq" and version != "gemm"):
        kind = f", version {version!r}" if method == "awq" else ""
        raise ModelError(
            f"The checkpoint is quantised by {method!r} to {bits!r} bits{kind} (quantization_config in config.json), "
            "and llmdist reads GPTQ and AWQ (gemm) of 4 bits: use one of these, or the bf16 version of the model."
        )
    result = dict(entries)
    for name in entries:
        if name.endswith(".qweight"):
            module = name.removesuffix(".qweight")
            result[f"{module}.weight"] = _joined(method, settings, entries, module)
    return result


def _joined(
    method: str, settings: Mapping[str, Any], entries: Mapping[str, TensorEntry], module: str
) -> TensorEntry:
    """Return one matrix (outputs, inputs), after checking that its parts fit together."""
    parts = {part: entries.get(f"{module}.{part}") for part in ("qweight", "qzeros", "scales", "g_idx")}
    missing = [part for part in ("qweight", "qzeros", "scales") if parts[part] is None]
    if missing:
        raise ModelError(
            f"The quantised matrix {module!r} lacks {', '.join(missing)} of its parts: download the model again."
        )
    raw = {
        part: RawTensor(entry.path, entry.offset, entry.shape, entry.dtype)
        for part, entry in parts.items()
        if entry is not None
    }
    packed, scales = raw["qweight"], raw["scales"]
    rows, columns = packed.shape
    inputs, outputs = (rows * 8, columns) if method == "gptq" else (rows, columns * 8)
    groups = scales.shape[0]
    if scales.shape[1] != outputs or raw["qzeros"].shape != (groups, outputs // 8) or inputs % groups:
        raise ModelError(
            f"The quantised matrix {module!r} has qweight {list(packed.shape)}, qzeros {list(raw['qzeros'].shape)} and "
            f"scales {list(scales.shape)}, which do not fit 4 bits: check quantization_config, or download again."
        )
    codec: Codec
    if method == "gptq":
        ordered = raw.get("g_idx") if settings.get("desc_act") or "g_idx" in raw else None
        first_version = settings.get("checkpoint_format", "gptq") != "gptq_v2"
        codec = GptqRows(packed, raw["qzeros"], scales, ordered, int(first_version))
    else:
        codec = AwqRows(packed, raw["qzeros"], scales)
    return TensorEntry(
        f"{module}.weight", packed.path, packed.offset, codec.nbytes, (outputs, inputs), torch.float16, codec
    )
