"""The kernels as other processors compute them, against float64: plain loops, and ARM where an emulator is found."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from llmdist.kernels import PackedMatrix, compile, cpu, pack

from .test_cpu_products import KINDS, SHAPES, error, weight_of

_ARM, _EMULATOR = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64-static")
#: Name -> flags; the first is of any processor, the others of ARM without and with dot products of bytes.
_BUILDS = {
    "plain loops": ("-DLLMDIST_PORTABLE",),
    "arm": ("-march=armv8-a", "-static"),
    "arm with dotprod": ("-march=armv8.2-a+dotprod", "-static"),
}


@pytest.fixture(scope="module", params=_BUILDS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Compile the kernels and products.cpp for another processor and return the command that runs them."""
    tool = compile.compiler() if request.param == "plain loops" else _ARM
    if tool is None or (tool == _ARM and _EMULATOR is None):
        pytest.skip("no compiler for it, or no emulator")
    target = str(tmp_path_factory.mktemp("other") / "products")
    here = Path(compile.__file__).parent
    sources = [str(here / unit) for unit in compile._UNITS] + [str(Path(__file__).with_name("products.cpp"))]
    flags = [flag for flag in compile._FLAGS if flag not in ("-O3", "-fPIC")]
    subprocess.run([tool, *flags, "-O1", *_BUILDS[request.param], *sources, "-o", target], check=True)
    return [target] if tool != _ARM else [str(_EMULATOR), target]


def case(what: int, weight: cpu.Weight, x: Tensor, nbytes: int) -> bytes:
    """Return the header of products.cpp."""
    argument = cpu.matrix_argument(weight)
    header = (what, argument.kind, argument.group, argument.rows, argument.columns, argument.padded, len(x), nbytes)
    return np.array(header, np.int64).tobytes()


def stored(weight: cpu.Weight) -> bytes:
    """Return the bytes of `weight` as they lie in memory."""
    data = weight.data if isinstance(weight, PackedMatrix) else weight
    return data.contiguous().view(torch.uint8).numpy().tobytes()


def run(program: list[str], cases: list[bytes]) -> bytes:
    """Return what the program makes of `cases`."""
    done = subprocess.run(program, input=b"".join(cases), capture_output=True, check=True, timeout=300)
    return done.stdout


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_products_equal_float64(program: list[str], kind: torch.dtype | str) -> None:
    """Odd shapes, one token to a bulk of them; a token beside 31 others gives its own bits."""
    inputs, cases = [], []
    for rows, columns in SHAPES:
        weight = weight_of(kind, rows, columns)
        for tokens in (1, 2, 3, 4, 7, 32, 49):
            x = torch.randn(tokens, columns, generator=torch.Generator().manual_seed(tokens))
            alone = x[-1:].contiguous()
            for given in (x, alone) if tokens == 32 else (x,):
                inputs.append((given, weight))
                cases.append(case(0, weight, given, len(stored(weight))) + stored(weight) + given.numpy().tobytes())
    results = torch.frombuffer(bytearray(run(program, cases)), dtype=torch.float32)
    before: Tensor | None = None
    for x, weight in inputs:
        y, results = results[: len(x) * weight.shape[0]].view(len(x), -1), results[len(x) * weight.shape[0] :]
        assert error(y, x, weight) <= 1, (weight.shape, len(x))
        if before is not None and len(before) == 32 and len(x) == 1:
            assert torch.equal(before[-1], y[0])
        before = y
    assert len(results) == 0


@pytest.mark.parametrize("kind", ["int8/32", "int4/32", "int4/128"])
def test_packing_and_unpacking_give_the_bytes_of_the_definition(program: list[str], kind: str) -> None:
    """Random rows, a row of zeros, halves that round to even, and scales too small for a normal half."""
    name, _, group = kind.partition("/")
    dense = torch.randn(40, 256, generator=torch.Generator().manual_seed(2))
    dense[3], dense[4] = 0, dense[4] * 1e-6
    dense[5, :64] = torch.tensor([8.0, -8.0, 0.5, 1.5, 2.5, -0.5, -1.5, 7.5]).repeat(8)
    packed = pack(dense, name, int(group))
    kept = stored(packed)
    pack_case = np.frombuffer(case(1, packed, dense, len(kept)), np.int64).copy()
    pack_case[6] = 40  # tokens x columns floats follow: the rows to pack
    out = run(program, [pack_case.tobytes() + kept + dense.numpy().tobytes()])
    assert out == kept
    nothing = torch.empty(0, 256)
    rows = run(program, [case(2, packed, nothing, len(kept)) + kept])
    assert rows == packed.dequantise(torch.bfloat16).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize(
    "kind, limit", [(0, 1e-5), (1, 1e-2), (2, 2e-3), (3, 2e-2)], ids=["fp32", "bf16", "fp16", "int8"]
)
def test_attention_equals_float64_within_the_rounding_of_its_cache(
    program: list[str], kind: int, limit: float
) -> None:
    """Grouped heads, 70 tokens one after the other, a head of 20 that is no whole number of registers."""
    heads, kv_heads, hidden, width, tokens = 10, 2, 24, 20, 70
    generator = torch.Generator().manual_seed(4)
    norm, x = torch.rand(hidden, generator=generator), torch.randn(tokens, hidden, generator=generator)
    qkv = torch.randn((heads + 2 * kv_heads) * width, hidden, generator=generator)
    out = torch.randn(hidden, heads * width, generator=generator)
    header = np.array((3, kind, heads, kv_heads, hidden, width, tokens, 0), np.int64).tobytes()
    given = b"".join(part.numpy().tobytes() for part in (norm, qkv, out, x))
    got = torch.frombuffer(bytearray(run(program, [header + given])), dtype=torch.float32).view(tokens, hidden)
    wide = x.double()
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6) * norm
    parts = (normed @ qkv.double().T).view(tokens, -1, width).transpose(0, 1)
    q, k, v = parts.split((heads, kv_heads, kv_heads))
    k, v = (part.repeat_interleave(heads // kv_heads, 0) for part in (k, v))
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    added = mixed.transpose(0, 1).reshape(tokens, -1) @ out.double().T
    assert ((got - wide) - added).norm() <= limit * added.norm()
