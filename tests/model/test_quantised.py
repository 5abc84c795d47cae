"""GPTQ and AWQ checkpoints give the tokens of their unpacked weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import greedy_tokens, placement_of, reference_tokens
from safetensors.torch import load_file, save_file
from tiny import write_tiny

from llmdist.errors import ModelError
from llmdist.executor import Executor
from llmdist.model.checkpoint import Checkpoint

PROMPT = [5, 77, 300, 12, 9, 41, 8, 100, 3]
GROUP = 16
SHAPE = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16, "num_layers": 3, "eos_token_id": None}
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
PLAIN_ORDER = tuple(range(8))


def pack(values: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """Put eight 4-bit values of the last axis into an int32; value order[j] lies at place j."""
    grouped = values.reshape(*values.shape[:-1], -1, 8).astype(np.uint32)
    words = sum(grouped[..., order[place]] << np.uint32(4 * place) for place in range(8))
    return np.ascontiguousarray(words.astype(np.uint32)).view(np.int32)


def quantise(weight: np.ndarray, method: str, act_order: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the parts of one matrix (outputs, inputs) as `method` stores it, and what they stand for."""
    columns, rng = weight.T, np.random.default_rng(0)
    group = np.arange(columns.shape[0]) // GROUP
    if act_order:
        rng.shuffle(group)
    scales = np.stack([np.abs(columns[group == g]).max(0) / 7 for g in range(group.max() + 1)]).astype(np.float16)
    zeros = rng.integers(6, 10, scales.shape)
    q = np.clip(np.round(columns / scales[group].astype(np.float32)) + zeros[group], 0, 15).astype(np.int64)
    meant = ((q - zeros[group]) * scales[group].astype(np.float32)).T
    if method == "awq":
        return {"qweight": pack(q, AWQ_ORDER), "qzeros": pack(zeros, AWQ_ORDER), "scales": scales}, meant
    packed = np.ascontiguousarray(pack(np.ascontiguousarray(q.T), PLAIN_ORDER).T)
    parts = {"qweight": packed, "qzeros": pack(zeros - 1, PLAIN_ORDER), "scales": scales}
    return {**parts, "g_idx": group.astype(np.int32)}, meant


def write_quantised(folder: Path, method: str, act_order: bool = False, **settings: Any) -> tuple[Path, Path]:
    """Write a tiny model twice: quantised, and unpacked for transformers; both hold the same numbers."""
    quantised = write_tiny(folder / "quantised", **SHAPE)
    unpacked = write_tiny(folder / "unpacked", **SHAPE)
    tensors, stored = load_file(unpacked / "model.safetensors"), {}
    for name, tensor in tensors.items():
        if "_proj" not in name:
            stored[name] = tensor
            continue
        parts, meant = quantise(tensor.numpy(), method, act_order)
        stored |= {name.replace("weight", part): torch.from_numpy(value) for part, value in parts.items()}
        tensors[name] = torch.from_numpy(np.ascontiguousarray(meant, dtype=np.float32))
    save_file(stored, quantised / "model.safetensors")
    save_file(tensors, unpacked / "model.safetensors", {"format": "pt"})
    config = json.loads((quantised / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "bits": 4, "group_size": GROUP, **settings}
    (quantised / "config.json").write_text(json.dumps(config))
    return quantised, unpacked


@pytest.mark.parametrize(
    ("method", "act_order", "settings"),
    [("gptq", False, {"desc_act": False}), ("gptq", True, {"desc_act": True}), ("awq", False, {"version": "gemm"})],
)
def test_quantised_checkpoints_give_the_tokens_of_their_unpacked_weights(
    tmp_path: Path, method: str, act_order: bool, settings: dict[str, Any]
) -> None:
    """Resident, half-streamed and all-streamed float32 runs equal transformers on the dequantised weights."""
    quantised, unpacked = write_quantised(tmp_path, method, act_order, **settings)
    expected = reference_tokens(unpacked, PROMPT, 12)
    checkpoint = Checkpoint.open(quantised)
    blocks = [block.name for block in checkpoint.profile.blocks]
    for streamed, streaming in ((set(), True), (set(blocks[::2]), True), (set(blocks), True), (set(blocks), False)):
        assert greedy_tokens(checkpoint, streamed, PROMPT, 12, streaming) == expected


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_quantised_checkpoints_can_be_packed_anew_in_int8(tmp_path: Path, method: str) -> None:
    """The logits in int8 are near those in float32, and the same for streamed and resident blocks."""
    quantised, _ = write_quantised(tmp_path, method)
    checkpoint = Checkpoint.open(quantised)
    blocks = tuple(block.name for block in checkpoint.profile.blocks)

    def logits(streamed: set[str], precision: str) -> torch.Tensor:
        executor = Executor(checkpoint, placement_of(blocks, streamed, precision), 64)
        result = executor.forward(torch.tensor([PROMPT]), 0).logits[0]
        executor.close()
        return result

    exact, packed = logits(set(), "fp32"), logits(set(), "int8")
    assert (packed - exact).norm() < 0.1 * exact.norm()
    assert torch.equal(packed, logits(set(blocks), "int8"))


def edit_settings(folder: Path, **changes: Any) -> None:
    """Change keys of quantization_config."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"] |= changes
    path.write_text(json.dumps(config))


def edit_tensors(folder: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the stored tensors."""
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def lose_zeros(tensors: dict[str, torch.Tensor]) -> None:
    """Drop one part of one matrix."""
    del tensors[ZEROS]


def narrow_zeros(tensors: dict[str, torch.Tensor]) -> None:
    """Take eight outputs from one part of one matrix."""
    tensors[ZEROS] = tensors[ZEROS][:, 1:].contiguous()


ZEROS = "model.layers.1.mlp.up_proj.qzeros"
DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (lambda folder: edit_settings(folder, bits=3), "to 3 bits"),
    (lambda folder: edit_settings(folder, quant_method="bitsandbytes"), "bitsandbytes"),
    (lambda folder: edit_settings(folder, quant_method="awq", version="gemv"), "gemv"),
    (lambda folder: edit_tensors(folder, lose_zeros), "lacks qzeros"),
    (lambda folder: edit_tensors(folder, narrow_zeros), "do not fit"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_a_quantised_checkpoint_that_cannot_be_read_is_named(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    """Other methods and widths, and parts that are missing or do not fit, are one sentence."""
    folder, _ = write_quantised(tmp_path, "gptq")
    damage(folder)
    with pytest.raises(ModelError, match=words) as caught:
        Checkpoint.open(folder)
    assert "\n" not in str(caught.value)
