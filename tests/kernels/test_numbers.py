"""Every kernel, compiled for the CPU from the same source, against float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from cases import DTYPES, EPS, TOLERANCE, attention_error, error, excess, matrix, noise, poisoned, projection_errors
from shim import HostModule

from llmdist.kernels import launch, reference
from llmdist.kernels.instances import FORMATS, HEAD_DIMS
from llmdist.kernels.launch import Attention

Host = Callable[..., HostModule]


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("name", DTYPES)
def test_projections_of_one_vector_equal_float64(host_module: Host, name: str, weight_format: str) -> None:
    """Rows that fill no tile and columns that fill no chunk, every format, both activation types."""
    for rows, columns in ((37, 264), (16, 8), (3, 1160)):
        found = projection_errors(host_module(), name, weight_format, 1, rows, columns)
        assert not excess(found, name), (rows, columns, found)


@pytest.mark.parametrize("weight_format", ["dense", "int8", "int4g128"])
def test_projections_of_several_vectors_equal_float64(host_module: Host, weight_format: str) -> None:
    """Up to eight vectors share one tile, normed by their own kernel before."""
    found = projection_errors(host_module(), "bf16", weight_format, 5, 37, 264)
    assert not excess(found, "bf16"), found


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("vectors", [9, 32])
def test_more_than_eight_vectors_take_several_tiles(host_module: Host, vectors: int, weight_format: str) -> None:
    """Nine and 32 vectors read the weights once and give the same product."""
    dtype = torch.bfloat16
    packed, weight = matrix(21, 328, weight_format, dtype)
    x, residual = noise(vectors, 328, dtype=dtype), noise(vectors, 21, dtype=dtype)
    out = poisoned(vectors, 21, dtype=dtype)
    launch.residual_gemv(host_module(), x, packed, None, residual, out)
    assert error(out, residual.double() + reference.projection(x, weight)) < TOLERANCE["bf16"]


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
@pytest.mark.parametrize("heads", [(3, 3), (4, 2), (7, 1)])
def test_attention_equals_float64(host_module: Host, head_dim: int, heads: tuple[int, int]) -> None:
    """Groups of one, two and seven heads, contexts that leave splits empty, and NaN behind the context."""
    shape = Attention(heads[0], heads[1], head_dim, 300, 3)
    assert attention_error(host_module(), "bf16", shape, [0, 257]) < TOLERANCE["bf16"]


@pytest.mark.parametrize("head_dim", [64, 128])
def test_attention_in_fp16_equals_float64(host_module: Host, head_dim: int) -> None:
    """The type of GPUs without bf16."""
    assert attention_error(host_module(), "fp16", Attention(8, 2, head_dim, 70, 2), [69, 30]) < TOLERANCE["fp16"]


def test_a_context_of_128k_tokens_is_read_in_splits(host_module: Host) -> None:
    """Offsets pass 2^24 elements, and 64 splits of 2048 tokens combine to the whole."""
    shape = Attention(1, 1, 64, 131072, 64)
    assert attention_error(host_module(), "bf16", shape, [131071]) < TOLERANCE["bf16"]


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("normed", [False, True])
def test_rotation_and_append_equal_the_definition(host_module: Host, name: str, normed: bool) -> None:
    """q is rotated, k rotated into its place, v copied; nothing else in the cache is touched."""
    dtype, shape = DTYPES[name], Attention(4, 2, 64, 9, 1)
    qkv, speeds = noise(2, shape.row, dtype=dtype), 10000.0 ** -(torch.arange(32) / 32)
    positions = torch.tensor([8, 3], dtype=torch.int32)
    norms = (noise(64, dtype=dtype, seed=1), noise(64, dtype=dtype, seed=2)) if normed else None
    embedding, tokens = noise(5, 16, dtype=dtype), torch.tensor([4, 0])
    angles = tuple(poisoned(2, 32, dtype=torch.float32) for _ in range(2))
    x, query = poisoned(2, 16, dtype=dtype), poisoned(2, 4, 64, dtype=dtype)
    cache = tuple(torch.zeros(2, 2, 9, 64, dtype=dtype) for _ in range(2))
    module = host_module()
    launch.begin_step(module, tokens, positions, embedding, speeds, x, angles[0], angles[1])
    launch.rope_append(module, shape, qkv, (angles[0], angles[1]), positions, norms, query, (cache[0], cache[1]), EPS)
    q, k, v = qkv.view(2, 8, 64).split((4, 2, 2), dim=1)
    if norms is not None:
        q, k = (reference.rms_norm(part, norm, EPS) for part, norm in zip((q, k), norms, strict=True))
    assert torch.equal(x, embedding[tokens])
    assert error(query, reference.rotate(q, positions, speeds)) < TOLERANCE[name]
    written = torch.stack([cache[0][b, :, p] for b, p in enumerate(positions.tolist())])
    assert error(written, reference.rotate(k, positions, speeds)) < TOLERANCE[name]
    assert torch.equal(torch.stack([cache[1][b, :, p] for b, p in enumerate(positions.tolist())]), v)
    assert sum(int(c.abs().sum(-1).count_nonzero()) for c in cache) == 8  # 2 sequences, 2 heads, k and v


def test_angles_far_out_stay_exact(host_module: Host) -> None:
    """At position 131071 the angles are still those of float64, up to the rounding that the plain layer does."""
    speeds = 10000.0 ** -(torch.arange(32) / 32)
    positions = torch.tensor([131071], dtype=torch.int32)
    found = [poisoned(1, 32, dtype=torch.float32) for _ in range(2)]
    x = poisoned(1, 8, dtype=torch.float16)
    launch.begin_step(
        host_module(), torch.tensor([0]), positions, noise(1, 8, dtype=torch.float16), speeds, x, found[0], found[1]
    )
    angles = (positions.float() * speeds.float()).double()
    assert (found[0][0] - angles.cos()).abs().max() < 2**-11
    assert (found[1][0] - angles.sin()).abs().max() < 2**-11


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("name", DTYPES)
def test_dequantised_weights_are_those_that_were_packed(host_module: Host, name: str, weight_format: str) -> None:
    """One rounding to the activations' type apart from the packed values."""
    packed, weight = matrix(7, 200, weight_format, DTYPES[name])
    out = poisoned(7, 200, dtype=DTYPES[name])
    launch.dequantise(host_module(), packed, out)
    assert torch.equal(out, weight.to(DTYPES[name]))


@pytest.mark.parametrize("name", DTYPES)
def test_rms_norm_equals_float64(host_module: Host, name: str) -> None:
    """Three vectors of an odd number of pieces."""
    x, weight = noise(3, 1048, dtype=DTYPES[name]), noise(1048, dtype=DTYPES[name], seed=1)
    out = poisoned(3, 1048, dtype=DTYPES[name])
    launch.rms_norm(host_module(), x, weight, out, EPS)
    assert error(out, reference.rms_norm(x, weight, EPS)) < TOLERANCE[name]
