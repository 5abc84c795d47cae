"""The GPU benchmark without a GPU: its cases are right on the CPU build, and asking for it is one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from shim import HostModule

from llmdist.bench import gpu
from llmdist.bench._gpu_kernels import KERNELS, attention_case, projection_case
from llmdist.bench._gpu_peer_child import ENGINES
from llmdist.bench._gpu_plans import PLANS
from llmdist.bench.gpu import scenario_config
from llmdist.bench.rows import Row
from llmdist.bench.synthetic import SHAPES, SyntheticShape, write_synthetic
from llmdist.kernels.cuda_module import refusal
from llmdist.kernels.fused import check_fused
from llmdist.kernels.instances import Instance
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


def test_a_scenario_that_fails_takes_no_rows_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever it ends with: its first rows and those of the scenarios behind it are written."""

    def rows_of(name: str, *rest: object) -> Iterator[Row]:
        yield Row(name, "llmdist", "decode", 1.0, "tokens/s")
        if name == "kernels":
            raise ValueError("a peer wrote no JSON")

    monkeypatch.setattr(gpu, "require_cuda", lambda device: None)
    monkeypatch.setattr(gpu, "probes", lambda device: {"device copy": 1e9})
    monkeypatch.setattr(gpu, "_gpu", lambda device: {})
    monkeypatch.setattr(gpu, "_rows_of", rows_of)
    assert gpu.main(["--out", str(tmp_path), "--scenario", "kernels", "--scenario", "8b-bf16"]) == 0
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert [row["scenario"] for row in rows] == ["kernels", "8b-bf16"]
    assert "kernels failed: ValueError: a peer wrote no JSON" in capsys.readouterr().out


def test_old_cards_are_refused_in_one_sentence() -> None:
    """Before Turing altogether; Turing only kernels of bf16, of which the way out is named."""
    bf16, fp16 = (Instance("dequantise", (kind, "Dense")) for kind in ("Bf16", "Fp16"))
    assert "7.5 (Turing) or newer" in (refusal("cuda:0 (GTX 1080)", 6, 1, [fp16]) or "")
    assert "--precision fp16" in (refusal("cuda:0 (Tesla T4)", 7, 5, [fp16, bf16]) or "")
    assert refusal("cuda:0 (Tesla T4)", 7, 5, [fp16]) is None and refusal("cuda:0", 8, 6, [bf16]) is None
