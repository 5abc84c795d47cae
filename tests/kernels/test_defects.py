"""Defects are found without a GPU: forgotten barriers by the order of the threads, wild reads by the sanitizer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cases import DTYPES, TOLERANCE, attention_error, error, matrix, noise, poisoned
from shim import COMPILER, HostModule, build

from llmdist.kernels import launch, reference
from llmdist.kernels.instances import Instance, headers
from llmdist.kernels.launch import Attention

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no g++ found: defects are planted and compiled with it")

BARRIERS = {
    "norm.cuh: sums of squares": ("norm.cuh", "= squares;\n    __syncthreads();"),
    "norm.cuh: the normed vector": ("norm.cuh", "weights[k], factor);\n    __syncthreads();"),
    "gemv.cuh: partial sums": ("gemv.cuh", "            }\n    __syncthreads();"),
    "flash_decode.cu: streams": ("flash_decode.cu", "    __syncthreads();\n    for (int i = threadIdx.x; i < count"),
}
_QKV = Instance("norm_qkv", ("Bf16", "Dense", "1", "true"))
_ATTENTION = [Instance("flash_decode", ("Bf16", "64", "1")), Instance("combine", ("Bf16", "64"))]


def _qkv_error(module: HostModule) -> float:
    dtype = DTYPES["bf16"]
    x, norm = noise(1, 264, dtype=dtype), noise(264, dtype=dtype, seed=2)
    packed, weight = matrix(37, 264, "dense", dtype)
    out = poisoned(1, 37, dtype=dtype)
    launch.norm_qkv(module, x, norm, packed, None, out, x, 1e-5)
    return error(out, reference.projection(reference.rms_norm(x, norm, 1e-5), weight))


def _found(module: HostModule, file: str) -> bool:
    """Whether some order of the threads gives a wrong result."""
    for seed in range(4):
        module.seed = seed
        wrong = _qkv_error(module) if file != "flash_decode.cu" else _attention_error(module)
        if not wrong < TOLERANCE["bf16"]:
            return True
    return False


def _attention_error(module: HostModule) -> float:
    return attention_error(module, "bf16", Attention(1, 1, 64, 70, 2), [69])


def test_every_barrier_of_the_sources_is_listed() -> None:
    """A new barrier without a planted defect fails here, except that of staging, which is the normed vector's twin."""
    total = sum(text.count("__syncthreads();") for text in headers().values())
    assert total == len(BARRIERS) + 1


@needs_compiler
@pytest.mark.parametrize("name", BARRIERS)
def test_a_missing_barrier_is_found(tmp_path: Path, name: str) -> None:
    """Each barrier is taken out in turn: some order of the threads shows it."""
    file, place = BARRIERS[name]
    instances = _ATTENTION if file == "flash_decode.cu" else [_QKV]
    planted = {file: (place, place.replace("__syncthreads();", ""))}
    assert _found(HostModule(build(instances, tmp_path, ["-O0"], planted)), file)


def test_the_order_of_the_threads_does_not_matter(host_module: Callable[..., HostModule]) -> None:
    """With all barriers in place every order gives the right result."""
    assert not _found(host_module(), "norm.cuh")
    assert not _found(host_module(), "flash_decode.cu")


def _sanitized(folder: Path, *defect: str) -> subprocess.CompletedProcess[str]:
    assert COMPILER is not None
    libraries = [
        subprocess.run([COMPILER, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    if not all(os.path.isabs(path) for path in libraries):
        pytest.skip("g++ has no sanitizers here: install libasan and libubsan")
    environment = {**os.environ, "LD_PRELOAD": " ".join(libraries), "ASAN_OPTIONS": "detect_leaks=0"}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    script = Path(__file__).parent / "sanitized.py"
    command = [sys.executable, str(script), str(folder), *defect]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="the sanitizers are loaded first by LD_PRELOAD")
def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    """Addresses and undefined behaviour of every addressing kernel over odd sizes."""
    done = _sanitized(tmp_path)
    assert done.stdout.strip() == "clean", done.stderr[-3000:]


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="the sanitizers are loaded first by LD_PRELOAD")
def test_a_read_outside_a_tensor_is_found(tmp_path: Path) -> None:
    """The bound of the context is taken out: the cache is read beyond its end."""
    done = _sanitized(tmp_path, "flash_decode.cu", "if (active && token < end)", "if (active)")
    assert done.returncode
    assert "heap-buffer-overflow" in done.stderr
