"""A whole model decodes through the fused kernels on the CPU build and agrees with the plain layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from shim import HostModule, build
from tiny import write_tiny
from torch import Tensor

from llmdist.errors import ModelError
from llmdist.executor.weights import BlockLayout, fill
from llmdist.kernels.cuda.packing import pack, packed_bytes, unpack
from llmdist.kernels.fused import FusedAttention, FusedDecoder, FusedHead, FusedMlp, check_fused, instances_of
from llmdist.kernels.launch import Attention
from llmdist.model import layers
from llmdist.model.blocks import BYTES_PER_PARAMETER
from llmdist.model.checkpoint import Checkpoint

#: Largest difference of logits over the largest logit: roundings of two layers that fall differently.
TOLERANCE = {torch.bfloat16: 2**-5, torch.float16: 2**-8}
WIDE = {"head_dim": 64, "num_layers": 2, "hidden_size": 88, "intermediate_size": 136}


class Model:
    """A tiny model's plain weights, rounded to a weight format, and both ways to decode with them."""

    def __init__(self, folder: Path, family: str, dtype: torch.dtype, weight_format: str) -> None:
        self.checkpoint = Checkpoint.open(write_tiny(folder, family, "bfloat16", **WIDE))
        self.config, self.dtype, self.weight_format = self.checkpoint.config, dtype, weight_format
        self.weights = {b.name: self._read(b.name) for b in self.checkpoint.profile.blocks}
        config = self.config
        self.shape = Attention(config.num_heads, config.num_kv_heads, config.head_dim, 32, 2)
        cache = (1, config.num_kv_heads, 32, config.head_dim)
        self.plain_cache = [tuple(torch.zeros(cache, dtype=dtype) for _ in range(2)) for _ in range(2)]

    def _read(self, name: str) -> dict[str, Tensor]:
        layout = BlockLayout.of(self.checkpoint.block_tensors(name), self.dtype)
        buffer = torch.empty(layout.nbytes, dtype=torch.uint8)
        fill(layout, buffer)
        views = layout.views(buffer)
        matrices = () if name in ("embed", "head") else ("q", "k", "v", "o", "gate", "up", "down")
        return {k: self._rounded(v) if k in matrices else v for k, v in views.items()}

    def _rounded(self, weight: Tensor) -> Tensor:
        return unpack(pack(weight, self.weight_format, self.dtype), self.dtype).to(self.dtype)

    def fused(self, module: HostModule) -> FusedDecoder:
        """Return the fused decoder with a cache of its own."""
        packed = []
        for i in range(2):
            attention, mlp = self.weights[f"layers.{i}.attention"], self.weights[f"layers.{i}.mlp"]
            packed.append((
                FusedAttention.of(attention, self.weight_format, self.dtype),
                FusedMlp.of(mlp, self.weight_format, self.dtype),
            ))  # fmt: skip
        cache = [(k.clone(), v.clone()) for k, v in self.plain_cache]
        head = FusedHead.of(self.weights["head"], self.dtype)
        return FusedDecoder(self.config, module, self.shape, packed, head, self.weights["embed"]["weight"], cache)

    def plain(self, token: int, position: int) -> Tensor:
        """Return the logits of the plain layers."""
        x = layers.embed(self.weights["embed"]["weight"], torch.tensor([[token]]))
        speeds = layers.inverse_frequencies(self.config.ropes[0])
        angles = torch.tensor([[float(position)]]) * speeds
        for i, (keys, values) in enumerate(self.plain_cache):
            w = self.weights[f"layers.{i}.attention"]
            x = layers.attention(self.config, w, x, angles.cos(), angles.sin(), keys, values, position)
            x = layers.mlp(self.config, self.weights[f"layers.{i}.mlp"], x)
        return layers.head(self.config, self.weights["head"], x[:, -1])


CASES = [
    ("llama", torch.bfloat16, "dense"),
    ("qwen3", torch.bfloat16, "int8"),
    ("qwen2", torch.bfloat16, "int4g128"),
    ("llama", torch.float16, "int4g32"),
]


@pytest.mark.parametrize(("family", "dtype", "weight_format"), CASES)
def test_fused_decoding_agrees_with_the_plain_layers(
    host_module: Callable[..., HostModule], tmp_path: Path, family: str, dtype: torch.dtype, weight_format: str
) -> None:
    """Six tokens from an empty cache, norms of heads and biases included; seven launches per layer."""
    model = Model(tmp_path / "model", family, dtype, weight_format)
    module = host_module()
    module.add(build([i for i in model_instances(model) if not module.has(i)], tmp_path / "more"))
    decoder = model.fused(module)
    for position, token in enumerate((5, 700, 31, 5, 64, 9)):
        decoder.tokens.fill_(token)
        decoder.positions.fill_(position)
        module.launches.clear()
        decoder.queue()
        wanted = model.plain(token, position)
        assert (decoder.logits - wanted).abs().max() < TOLERANCE[dtype] * wanted.abs().max()
    assert len(module.launches) == 2 + 7 * 2
    assert {launch.instance for launch in module.launches} == set(model_instances(model))


def model_instances(model: Model) -> list:
    """Return what the decoder says it will launch."""
    return instances_of(model.config, model.dtype, model.weight_format, model.shape, 1)


def test_packed_bytes_are_those_of_the_plan() -> None:
    """Bytes per weight of an 8B layer within 1 % of the planner's, so host-to-device bytes are too."""
    shapes = [(6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336)]
    weights = sum(rows * columns for rows, columns in shapes)
    for weight_format, precision in (("dense", "bf16"), ("int8", "int8"), ("int4g32", "int4")):
        found = sum(packed_bytes(rows, columns, weight_format) for rows, columns in shapes)
        assert found == pytest.approx(weights * BYTES_PER_PARAMETER[precision], rel=0.01)
    small = pack(torch.ones(5, 200), "int4g64", torch.bfloat16)
    assert small.nbytes == packed_bytes(5, 200, "int4g64")


def test_another_kind_of_layer_is_refused(tmp_path: Path) -> None:
    """Gemma's soft caps and a head of 20 are not in the kernels: one sentence says so."""
    for family in ("gemma2", "llama"):
        config = Checkpoint.open(write_tiny(tmp_path / family, family)).config
        with pytest.raises(ModelError, match="run it through the plain layers"):
            check_fused(config)
