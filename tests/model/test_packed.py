"""Quantised tensors unpack to what an independent implementation makes of the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

from llmdist.model.gguf_types import FORMATS
from llmdist.model.packed import AwqRows, Codec, GgufRows, GptqRows, RawTensor


def reader(path: Path, offset: int, nbytes: int) -> np.ndarray:
    """Read bytes of a file."""
    return np.fromfile(path, np.uint8, nbytes, offset=offset)


def rows_of(codec: Codec, first: int, count: int, columns: int) -> np.ndarray:
    """Return some rows that the codec unpacks."""
    target = torch.full((count, columns), torch.nan)
    codec.fill(target, first, reader)
    return target.numpy()


def random_blocks(name: str, rows: int, columns: int) -> np.ndarray:
    """Return random rows of a GGUF type, uint8, without infinite scales."""
    values, nbytes = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    raw = np.random.default_rng(1).integers(0, 256, (rows, columns // values, nbytes), dtype=np.uint8)
    halves = {"Q8_0": (1,), "Q4_0": (1,), "Q4_K": (1, 3), "Q6_K": (209,), "F16": (1,), "BF16": (1,), "F32": (3,)}
    for place in halves[name]:
        raw[:, :, place] = 0x34  # the exponent of each float: moderate
    return raw.reshape(rows, -1)


@pytest.mark.parametrize("name", FORMATS)
def test_gguf_types_unpack_as_the_gguf_package_does(tmp_path: Path, name: str) -> None:
    """Random blocks of every type, a range of rows in the middle of the file."""
    raw = random_blocks(name, 6, 512)
    expected = quants.dequantize(raw, GGMLQuantizationType[name])
    (tmp_path / "t").write_bytes(b"x" * 64 + raw.tobytes())
    rows = GgufRows(tmp_path / "t", 64, (6, 512), name)
    assert rows.nbytes == raw.nbytes
    np.testing.assert_allclose(rows_of(rows, 2, 3, 512), expected[2:5], rtol=1e-6)


def test_rows_that_gguf_interleaves_are_put_back(tmp_path: Path) -> None:
    """The converter's permutation of q and k, undone head by head."""
    raw = random_blocks("Q8_0", 16, 32)
    heads = raw.reshape(2, 2, 4, -1).swapaxes(1, 2).reshape(raw.shape)  # as llama.cpp's converter does
    (tmp_path / "t").write_bytes(heads.tobytes())
    rows = GgufRows(tmp_path / "t", 0, (16, 32), "Q8_0", head_rows=8)
    expected = quants.dequantize(raw, GGMLQuantizationType.Q8_0)
    np.testing.assert_allclose(rows_of(rows, 0, 16, 32), expected, rtol=1e-6)
    np.testing.assert_allclose(rows_of(rows, 8, 8, 32), expected[8:], rtol=1e-6)


def stored(path: Path, tensor: np.ndarray) -> RawTensor:
    """Write a tensor to a file of its own."""
    path.write_bytes(tensor.tobytes())
    return RawTensor(path, 0, tensor.shape, {"int32": torch.int32, "float16": torch.float16}[str(tensor.dtype)])


def pack(values: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """Put eight 4-bit values of the last axis into an int32; value order[j] lies at place j."""
    grouped = values.reshape(*values.shape[:-1], -1, 8).astype(np.uint32)
    words = sum(grouped[..., order[place]] << np.uint32(4 * place) for place in range(8))
    return words.astype(np.uint32).view(np.int32)


@pytest.mark.parametrize("act_order", [False, True])
def test_gptq_unpacks_by_its_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act_order: bool) -> None:
    """Written value by value from the definition, with groups in order or by activation, 8 outputs at a time."""
    monkeypatch.setattr("llmdist.model.packed._NUMBERS", 512)
    rng, inputs, outputs, groups = np.random.default_rng(2), 64, 24, 4
    q, z = rng.integers(0, 16, (inputs, outputs)), rng.integers(0, 15, (groups, outputs))
    scales = rng.normal(size=(groups, outputs)).astype(np.float16)
    group = np.arange(inputs) // (inputs // groups)
    if act_order:
        rng.shuffle(group)
    expected = np.array(
        [[float(scales[group[i], o]) * (int(q[i, o]) - int(z[group[i], o]) - 1) for i in range(inputs)]
         for o in range(outputs)]
    )  # fmt: skip
    plain = tuple(range(8))
    rows = GptqRows(
        stored(tmp_path / "q", np.ascontiguousarray(pack(np.ascontiguousarray(q.T), plain).T)),
        stored(tmp_path / "z", pack(z, plain)),
        stored(tmp_path / "s", scales),
        stored(tmp_path / "g", group.astype(np.int32)) if act_order else None,
    )
    np.testing.assert_allclose(rows_of(rows, 0, outputs, inputs), expected, rtol=1e-6)


def test_awq_unpacks_by_its_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written value by value from the definition, in AWQ's own order of nibbles, 8 outputs at a time."""
    monkeypatch.setattr("llmdist.model.packed._NUMBERS", 512)
    rng, inputs, outputs, groups = np.random.default_rng(3), 64, 24, 2
    q, z = rng.integers(0, 16, (inputs, outputs)), rng.integers(0, 16, (groups, outputs))
    scales = rng.normal(size=(groups, outputs)).astype(np.float16)
    expected = np.array(
        [[float(scales[i // 32, o]) * (int(q[i, o]) - int(z[i // 32, o])) for i in range(inputs)]
         for o in range(outputs)]
    )  # fmt: skip
    order = (0, 2, 4, 6, 1, 3, 5, 7)
    parts = (pack(q, order), pack(z, order), scales)
    rows = AwqRows(*(stored(tmp_path / name, part) for name, part in zip("qzs", parts, strict=True)))
    np.testing.assert_allclose(rows_of(rows, 0, outputs, inputs), expected, rtol=1e-6)
