"""A whole block in one compiled call equals the plain layers, for every kind of weights and family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import write_tiny
from torch import Tensor

from llmdist.executor.weights import BlockLayout, fill, read_tensor
from llmdist.kernels import PackedMatrix, compile
from llmdist.kernels.cpu import Weight
from llmdist.kernels.decode import FusedAttention, FusedHead, FusedMlp, fused_block
from llmdist.kernels.tune import Choice
from llmdist.model.checkpoint import Checkpoint
from llmdist.model.layers import Rope, attention, head, mlp
from llmdist.model.quantize import quantise_block

pytestmark = pytest.mark.skipif(compile.compiler() is None, reason="no C++ compiler")


@pytest.fixture(autouse=True)
def kernels_won(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the kernels whatever the timing on this machine says."""
    won = dict.fromkeys(LIMITS, Choice(4, 4, "kernel", "kernel", "kernel", "kernel"))
    monkeypatch.setattr("llmdist.kernels.decode.choices", lambda: won)


#: Largest difference to the layers as a share of the output's norm; int4 rounds activations on both sides alike, 16-bit
#: weights those of the kernel to fp16.
LIMITS = {"fp32": 1e-5, "bf16": 6e-4, "fp16": 6e-4, "int8": 1e-4, "int4": 3e-2}


def weights(checkpoint: Checkpoint, block: str, precision: str) -> dict[str, Weight]:
    """Return a block's weights at `precision`."""
    layout = BlockLayout.of(checkpoint.block_tensors(block), precision)
    buffer = torch.empty(layout.nbytes, dtype=torch.uint8)
    if precision in ("int8", "int4"):
        quantise_block(layout.entries, layout.slots, buffer, read_tensor)
    else:
        fill(layout, buffer)
    return layout.views(buffer)


def exact(found: dict[str, Weight]) -> dict[str, Tensor]:
    """Return the same weights as float32 tensors."""
    return {n: w.dequantise() if isinstance(w, PackedMatrix) else w.float() for n, w in found.items()}


def close(got: Tensor, expected: Tensor, precision: str) -> None:
    """Check the difference against the limit; NaN fails."""
    assert ((got - expected).norm() <= LIMITS[precision] * expected.norm()).item()


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_a_block_in_one_call_equals_the_layers(tmp_path: Path, family: str, precision: str) -> None:
    """Attention over several tokens and over one, MLP and head."""
    checkpoint = Checkpoint.open(write_tiny(tmp_path / "model", family, head_dim=16))
    config, rope = checkpoint.config, Rope(checkpoint.config)
    generator = torch.Generator().manual_seed(0)
    shape = (3, config.num_kv_heads, 40, config.head_dim)
    for starts, tokens in ((7, 5), (30, 1)):
        x = torch.randn(3, tokens, config.hidden_size, generator=generator)
        keys, values = (torch.randn(shape, generator=generator) for _ in range(2))
        found = weights(checkpoint, "layers.1.attention", precision)
        fused = fused_block(config, "layers.1.attention", found, keys)
        assert isinstance(fused, FusedAttention)
        cos, sin = rope.tables(starts, tokens, 0)
        k, v = keys.clone(), values.clone()
        expected = attention(config, exact(found), x, cos, sin, k, v, starts)
        got = x.clone()
        fused(got, cos, sin, keys, values, starts)
        close(got, expected, precision)
        close(keys, k, precision)
        close(values, v, precision)
    found = weights(checkpoint, "layers.2.mlp", precision)
    fused_mlp, got = fused_block(config, "layers.2.mlp", found), x.clone()
    assert isinstance(fused_mlp, FusedMlp)
    fused_mlp(got)
    close(got, mlp(config, exact(found), x), precision)
    found = weights(checkpoint, "head", precision)
    fused_head = fused_block(config, "head", found)
    assert isinstance(fused_head, FusedHead)
    close(fused_head(x), head(config, exact(found), x), precision)


def test_each_sequence_may_stand_at_its_own_position(tmp_path: Path) -> None:
    """Three sequences with a start each give to the bit what each gives alone, in the output and in the cache."""
    checkpoint = Checkpoint.open(write_tiny(tmp_path / "model", "qwen3"))
    config, rope, starts = checkpoint.config, Rope(checkpoint.config), (3, 30, 0)
    found = weights(checkpoint, "layers.1.attention", "int8")
    keys, values = (torch.randn(3, 2, 40, 20, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    x = torch.randn(3, 1, 80, generator=torch.Generator().manual_seed(3))
    fused = fused_block(config, "layers.1.attention", found, keys)
    assert isinstance(fused, FusedAttention)
    alone = []
    for i, start in enumerate(starts):
        one, k, v = x[i : i + 1].clone(), keys[i : i + 1].clone(), values[i : i + 1].clone()
        fused(one, *rope.tables(start, 1, 0), k, v, start)
        alone.append((one, k, v))
    cos, sin = (torch.stack(table) for table in zip(*(rope.tables(start, 1, 0) for start in starts), strict=True))
    fused(x, cos, sin, keys, values, starts)
    for i, (one, k, v) in enumerate(alone):
        assert torch.equal(x[i], one[0]) and torch.equal(keys[i], k[0]) and torch.equal(values[i], v[0])


def test_a_cache_of_another_type_is_written_and_read(tmp_path: Path) -> None:
    """Keys and values in bf16 and fp16 are rounded to their type and used so."""
    checkpoint = Checkpoint.open(write_tiny(tmp_path / "model"))
    config, rope = checkpoint.config, Rope(checkpoint.config)
    found = weights(checkpoint, "layers.0.attention", "fp32")
    for dtype, limit in ((torch.bfloat16, 2e-2), (torch.float16, 2e-3)):
        keys, values = (torch.zeros(1, 2, 16, 20, dtype=dtype) for _ in range(2))
        wide_keys, wide_values = keys.float(), values.float()
        fused = fused_block(config, "layers.0.attention", found, keys)
        assert isinstance(fused, FusedAttention)
        for start in range(6):
            x = torch.randn(1, 1, 80, generator=torch.Generator().manual_seed(start))
            cos, sin = rope.tables(start, 1, 0)
            expected = attention(config, exact(found), x, cos, sin, wide_keys, wide_values, start)
            fused(x, cos, sin, keys, values, start)
            assert (x - expected).norm() < limit * expected.norm()
        assert (keys.float() - wide_keys).norm() < limit * wide_keys.norm()


def test_what_the_kernels_do_not_compute_is_left_to_the_layers(tmp_path: Path) -> None:
    """A family with other norms, and q, k, v that do not follow each other in memory."""
    gemma = Checkpoint.open(write_tiny(tmp_path / "gemma", "gemma2"))
    assert fused_block(gemma.config, "layers.0.mlp", weights(gemma, "layers.0.mlp", "fp32")) is None
    llama = Checkpoint.open(write_tiny(tmp_path / "llama"))
    apart = {n: w.clone() for n, w in weights(llama, "layers.0.attention", "fp32").items() if isinstance(w, Tensor)}
    assert fused_block(llama.config, "layers.0.attention", apart, torch.zeros(1, 2, 8, 20)) is None
