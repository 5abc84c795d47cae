"""The GPU benchmark without a GPU: its cases are right on the CPU build, and asking for it is one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from shim import HostModule

from llmdist.bench._gpu_kernels import KERNELS, attention_case, projection_case
from llmdist.bench._gpu_peer_child import ENGINES
from llmdist.bench._gpu_plans import PLANS
from llmdist.bench.gpu import scenario_config
from llmdist.bench.synthetic import SHAPES, SyntheticShape, write_synthetic
from llmdist.kernels.fused import check_fused
from llmdist.kernels.launch import Attention

CPU = torch.device("cpu")


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_cases_of_the_benchmark_are_right(host_module: Callable[..., HostModule], kernel: str) -> None:
    """The error that the benchmark reports is small for right kernels, and the bytes are those of the matrix."""
    torch.manual_seed(0)
    case = projection_case(host_module(), kernel, "int4g128", torch.bfloat16, 1, 33, 256, CPU)
    assert case.error() < 2**-6
    assert case.nbytes >= 33 * 256 // 2


def test_the_attention_case_is_right(host_module: Callable[..., HostModule]) -> None:
    """One sequence, grouped heads."""
    torch.manual_seed(0)
    case = attention_case(host_module(), Attention(4, 1, 128, 64, 2), torch.bfloat16, 50, CPU)
    assert case.error() < 2**-7


def test_the_scenarios_are_models_that_the_kernels_take() -> None:
    """The 8B shape is plain."""
    check_fused(scenario_config(2))


def test_every_plan_has_a_shape_and_peers_that_exist() -> None:
    """A batch times its prompt fits the context; what needs more memory than is granted may stream or share."""
    for scenario in PLANS.values():
        assert scenario.shape in SHAPES
        assert set(scenario.peers) <= set(ENGINES)
        assert scenario.prompt + scenario.tokens <= 2048
        assert scenario.batch == 1 or not scenario.peers


def test_a_peer_says_what_a_token_and_a_prompt_take(tmp_path: Path) -> None:
    """transformers on a tiny model, in its own process."""
    shape = SyntheticShape(64, 128, 2, 4, 2, 256)
    write_synthetic(tmp_path / "model", shape)
    words = ENGINES[0], str(tmp_path / "model"), "0", "8", "4"
    command = [sys.executable, "-m", "llmdist.bench._gpu_peer_child", *words]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    assert found["prefill"] > 0
    assert set(found) == {"seconds", "prefill", "peak"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_without_a_gpu_the_benchmark_is_one_sentence_and_exit_status_1(tmp_path: Path) -> None:
    """Nothing is written."""
    command = [sys.executable, "-m", "llmdist.bench", "gpu", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "finds no CUDA device" in done.stderr
    assert not (tmp_path / "out").exists()
