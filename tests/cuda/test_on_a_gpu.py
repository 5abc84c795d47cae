"""The executor and the session on a real CUDA device; skipped where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from device_models import PROMPT, TOLERANCE, decode, model, placed

import llmdist
from llmdist.executor import Executor
from llmdist.executor.runtime import CudaRuntime
from llmdist.kernels.device_rates import read_rates
from llmdist.planner.placement import Assignment, Placement

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"), pytest.mark.usefixtures("store")
]  # fmt: skip


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize(
    ("family", "precision"),
    [("llama", "bf16"), ("llama", "fp16"), ("qwen3", "int8"), ("qwen2", "int4"), ("llama", "int4")],
)
def test_fused_decoding_agrees_with_the_plain_layers(tmp_path: Path, family: str, precision: str, batch: int) -> None:
    """The kernels on the device, against torch's operators on the same device."""
    checkpoint = model(tmp_path, family, num_layers=4)
    executor = Executor(checkpoint, placed(checkpoint, precision), 64, batch)
    plain = Executor(checkpoint, placed(checkpoint, precision), 64, batch)
    plain.device_blocks.compute = lambda *_: None  # type: ignore[method-assign]
    tokens = [3, 700, 31, 9, 12]
    found, wanted = decode(executor, tokens, batch), decode(plain, tokens, batch)
    bound = 3 * TOLERANCE if precision == "int4" else 2 * TOLERANCE  # four layers add what one rounds otherwise
    for got, expected in zip(found, wanted, strict=True):
        assert (got - expected).abs().max() < bound * expected.abs().max()
    assert executor.device_blocks.notes == {}
    executor.close()
    plain.close()


@pytest.mark.parametrize("precision", ["bf16", "int8", "int4"])
def test_a_recorded_step_gives_the_very_logits_of_single_launches(tmp_path: Path, precision: str) -> None:
    """Kernels that begin early must not see what is not there yet; 40 tokens."""
    checkpoint, tokens = model(tmp_path, num_layers=8), [(17 * i) % 700 for i in range(40)]
    found = []
    for recorded in (True, False):
        executor = Executor(checkpoint, placed(checkpoint, precision), 64)
        if not recorded:
            executor.runtime.recorded = lambda device, queue: queue  # type: ignore[method-assign]
        found.append(decode(executor, tokens))
        executor.close()
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("homes", ["cpu", "disk", "cuda:0 cpu disk cpu"])
@pytest.mark.parametrize("precision", ["bf16", "int8", "int4"])
def test_streamed_blocks_give_the_very_logits_of_resident_ones(tmp_path: Path, precision: str, homes: str) -> None:
    """Through slots, a lane and pinned buffers, prefetched over token borders; 40 tokens would show a race."""
    checkpoint, tokens = model(tmp_path, num_layers=8), [(17 * i) % 700 for i in range(40)]
    found = []
    for where, streaming in ((homes, True), (homes, False), ("cuda:0", True)):
        executor = Executor(checkpoint, placed(checkpoint, precision, where), 64, streaming=streaming)
        found.append(decode(executor, tokens))
        executor.close()
    for streamed, sequential, resident in zip(*found, strict=True):
        assert torch.equal(streamed, sequential)
        assert torch.equal(streamed, resident)


@pytest.mark.parametrize("precision", ["bf16", "int8", "int4"])
def test_blocks_shared_with_the_cpu_are_as_near_to_bf16_as_whole_ones(tmp_path: Path, precision: str) -> None:
    """Every MLP is computed by both; ten tokens would show a sum that came too early."""
    checkpoint, tokens = model(tmp_path, num_layers=8, intermediate_size=512), [(17 * i) % 700 for i in range(10)]
    found = []
    for kind, eighths in ((precision, 3), (precision, 0), ("bf16", 0)):
        whole = placed(checkpoint, kind)
        moves = {n: Assignment("cuda:0", "cuda:0", kind, eighths) for n in whole.blocks if n.endswith(".mlp")}
        executor = Executor(checkpoint, whole.moved(moves), 64)
        found.append(torch.stack(decode(executor, tokens)))
        assert executor.device_blocks.notes == {}
        executor.close()
    shared, alone, exact = found
    least = 2 * TOLERANCE * exact.abs().max()
    assert (shared - exact).abs().max() < max(least, 1.5 * (alone - exact).abs().max())


def test_blocks_move_between_cpu_and_gpu_without_losing_the_context(tmp_path: Path) -> None:
    """The KV cache goes along; logits stay within the type's rounding."""
    checkpoint = model(tmp_path, num_layers=4)
    gpu = placed(checkpoint, "bf16")
    cpu = Placement(gpu.blocks, tuple(Assignment("cpu", "cpu", "bf16") for _ in gpu.blocks))
    executor, still = Executor(checkpoint, cpu, 64), Executor(checkpoint, cpu, 64)
    for number, (token, placement) in enumerate(zip([3, 700, 31, 8], [gpu, cpu, gpu, cpu], strict=True)):
        if number == 0:
            assert torch.equal(*(e.run([PROMPT], [0]).logits for e in (executor, still)))
        executor.apply(placement)
        found, wanted = (e.run([[token]], [len(PROMPT) + number]).logits.cpu() for e in (executor, still))
        assert (found - wanted).abs().max() < TOLERANCE * wanted.abs().max()
    executor.close()
    still.close()


def test_the_session_uses_the_gpu_and_stays_under_its_cap() -> None:
    """The bundled model: planned, generated, replanned with less, and the same text as on the CPU."""
    session = llmdist.load("demo")
    try:
        question = "Question: What do ants follow? Answer:"
        plan = session.plan(vram="1GiB", seconds=1)
        assert any(choice.exec_device == "cuda:0" for choice in plan.placement.assignments)
        text = "".join(step.text for step in session.generate(question, max_new_tokens=24))
        session.plan(ram="1GiB", seconds=1, locks={
            name: Assignment("cpu", "cpu", "bf16") for name, _ in plan.placement.items()
        })  # fmt: skip
        assert "".join(step.text for step in session.generate(question, max_new_tokens=24)) == text
        print("predicted", plan.prediction, "\ntext", text, file=sys.stderr)
    finally:
        session.unload()


def test_asking_for_free_memory_opens_no_context() -> None:
    """A process that only plans takes next to nothing of the GPU; by the driver's own count."""
    pynvml = pytest.importorskip("pynvml")
    pynvml.nvmlInit()
    uuid = torch.cuda.get_device_properties(0).uuid

    def used() -> int:
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")).used)

    asking = "import sys; from llmdist.hardware import probe_devices; probe_devices(); print(1, flush=True); input()"
    before = used()
    with subprocess.Popen([sys.executable, "-c", asking], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline().strip() == b"1"
        assert used() - before < 64 << 20
        process.communicate(b"\n")


def test_copies_never_share_a_stream_with_recordings() -> None:
    """Torch gives out streams in turn: of 64 more, none may be the one on which weights are copied."""
    lane = CudaRuntime().lane("cuda:0")
    assert lane._stream not in {torch.cuda.Stream("cuda:0") for _ in range(64)}  # type: ignore[attr-defined]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
def test_a_second_gpu_computes_its_blocks_and_is_timed_by_its_own_clock(tmp_path: Path) -> None:
    """Kernels, recordings and rates are those of the device that was asked, and the logits those of one GPU."""
    checkpoint, tokens = model(tmp_path, num_layers=4), [3, 700, 31, 9]
    whole = placed(checkpoint, "bf16")
    names = [block.name for block in checkpoint.profile.blocks if block.name.startswith("layers.2")]
    both = whole.moved({name: Assignment("cuda:1", "cuda:1", "bf16") for name in names})
    found = []
    for placement in (whole, both):
        executor = Executor(checkpoint, placement, 64)
        found.append(decode(executor, tokens))
        executor.close()
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() < TOLERANCE * other.abs().max()
    first, second = (read_rates(torch.device("cuda", i))["dense"] for i in (0, 1))
    if torch.cuda.get_device_name(0) == torch.cuda.get_device_name(1):
        assert 0.5 < first / second < 2
