"""Blocks on a GPU: the executor's own path with the kernels' host build, against the plain layers."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
import torch
from device_models import PROMPT, TOLERANCE, decode, model, placed
from virtual_devices import COMPILED, VirtualRuntime

from llmdist.errors import HardwareError
from llmdist.executor import Executor
from llmdist.executor.device_times import DeviceTimes
from llmdist.kernels.cuda_module import refusal
from llmdist.planner.placement import Assignment

pytestmark = [COMPILED, pytest.mark.usefixtures("store")]


@pytest.mark.parametrize(
    ("family", "precision"), [("llama", "bf16"), ("qwen3", "int8"), ("qwen2", "int4"), ("llama", "int4")]
)
def test_fused_decoding_agrees_with_the_plain_layers(tmp_path: Path, family: str, precision: str) -> None:
    """Prefill through plain layers, decode through seven launches per layer and the head's one."""
    checkpoint, runtime = model(tmp_path, family), VirtualRuntime()
    executor = Executor(checkpoint, placed(checkpoint, precision), 64, runtime=runtime)
    plain = Executor(checkpoint, placed(checkpoint, precision), 64, runtime=VirtualRuntime())
    plain.device_blocks.compute = lambda *_: None  # type: ignore[method-assign]
    tokens = [3, 700, 31]
    found, wanted = decode(executor, tokens), decode(plain, tokens)
    for got, expected in zip(found, wanted, strict=True):
        assert (got - expected).abs().max() < TOLERANCE * expected.abs().max()
    assert executor.device_blocks.notes == {}
    launches = [i.instance for i in runtime.modules["cuda:0"].launches if i.instance.kernel != "dequantise"]
    decoding = len(launches) - 1  # the prompt's head
    assert decoding == len(tokens) * (7 * 2 + 1)
    assert set(launches) <= runtime.compiled
    executor.close()
    plain.close()


def test_blocks_that_follow_each_other_are_recorded_once_and_replayed(tmp_path: Path) -> None:
    """Two layers resident: one recording. Two streamed blocks among them: they and what lies between have their own.

    Recorded at the second use, as the first one sets the kernels up; the logits are those of other placements.
    """
    checkpoint, tokens = model(tmp_path), [3, 700, 31, 9]
    names = [block.name for block in checkpoint.profile.blocks if block.name.startswith("layers")]
    whole = placed(checkpoint, "bf16")
    parts = whole.moved({names[1]: Assignment("cuda:0", "cpu", "bf16"), names[2]: Assignment("cpu", "cpu", "bf16")})
    found = []
    for placement, recordings in ((whole, 1), (parts, 3)):
        runtime = VirtualRuntime()
        executor = Executor(checkpoint, placement, 64, slots=1, runtime=runtime)
        decode(executor, tokens[:1])
        assert runtime.recordings == 0
        found.append(decode(executor, tokens))
        assert runtime.recordings == recordings
        executor.close()
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() < TOLERANCE * other.abs().max()


def test_blocks_that_ran_as_one_share_its_time_by_their_bytes(tmp_path: Path) -> None:
    """In order, without a gap, and every block of the model once."""
    checkpoint = model(tmp_path)
    placement = placed(checkpoint, "bf16", "cuda:0 cuda:0 cuda:0 cpu")
    executor = Executor(checkpoint, placement, 64, runtime=VirtualRuntime())
    executor.run([PROMPT], [0])
    done = executor.run([[3]], [len(PROMPT)])
    assert [one.block for one in done.computes] == [block.name for block in checkpoint.profile.blocks]
    run = [one for one in done.computes if one.block in ("layers.0.attention", "layers.0.mlp")]
    assert run[0].end_seconds == run[1].start_seconds
    attention, mlp = (one.end_seconds - one.start_seconds for one in run)
    sizes = {name: layout.nbytes for name, layout in executor._layouts.items()}
    assert mlp / attention == pytest.approx(sizes["layers.0.mlp"] / sizes["layers.0.attention"])
    assert all(one.start_seconds <= one.end_seconds for one in (*done.computes, *done.copies))
    assert [copy.block for copy in done.copies] == ["layers.1.attention"]
    executor.close()


def test_why_the_kernels_refuse_is_one_sentence_of_the_executors_note(tmp_path: Path) -> None:
    """Two attention blocks with a cache in int8 are one reason, said once."""
    checkpoint = model(tmp_path)
    executor = Executor(checkpoint, placed(checkpoint, "bf16"), 64, kv="int8", runtime=VirtualRuntime())
    assert executor.note == ""
    decode(executor, [3])
    assert len(executor.device_blocks.notes) == 2
    assert executor.note == executor.device_blocks.reasons[0]
    executor.close()


def test_a_card_that_the_kernels_refuse_computes_by_plain_layers(tmp_path: Path) -> None:
    """The model loads, the note says why it is slow and what to plan for, and the logits are the kernels' own."""
    checkpoint = model(tmp_path)

    class Old(VirtualRuntime):
        def module(self, instances, device):  # type: ignore[no-untyped-def]
            raise HardwareError("cuda:0 (Tesla T4) has no bf16.")

    found = []
    for runtime in (Old(), VirtualRuntime()):
        executor = Executor(checkpoint, placed(checkpoint, "int8"), 64, runtime=runtime)
        assert ("Plain layers" in executor.note and "Tesla T4" in executor.note) == isinstance(runtime, Old)
        found.append(decode(executor, [3, 700]))
        executor.close()
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() < TOLERANCE * other.abs().max()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_card_without_bf16_computes_in_fp16(tmp_path: Path, precision: str) -> None:
    """Through kernels of fp16, in plain weights and in quantised ones; the logits are those of the plain layers."""
    checkpoint = model(tmp_path)
    placement = placed(checkpoint, precision).moved({"embed": Assignment("cpu", "cpu", precision)})

    class Turing(VirtualRuntime):
        def has_bf16(self, device: str) -> bool:
            return device == "cpu"

    runtime = Turing()
    executor = Executor(checkpoint, placement, 64, runtime=runtime)
    plain = Executor(checkpoint, placement, 64, runtime=Turing())
    plain.device_blocks.compute = lambda *_: None  # type: ignore[method-assign]
    assert executor.dtype == torch.float16 and executor.note == ""
    for got, expected in zip(decode(executor, [3, 700]), decode(plain, [3, 700]), strict=True):
        assert (got - expected).abs().max() < TOLERANCE * expected.abs().max()
    assert refusal("Tesla T4", 7, 5, sorted(runtime.compiled)) is None
    executor.close()
    plain.close()


def test_what_another_device_computed_meanwhile_is_no_time_of_a_gpus_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block behind one of the same GPU begins where that ended; behind one of the CPU at a point of its own."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))  # a clock that no other work can delay
    runtime = VirtualRuntime()
    times = DeviceTimes(runtime)
    first = times.begin("cuda:0")
    times.computed("cuda:0", first, [("a", 1)])
    again = times.begin("cuda:0")
    times.computed("cuda:0", again, [("b", 1)])
    times.computed("cpu", times.begin("cpu"), [("c", 1)])
    later = times.begin("cuda:0")
    times.computed("cuda:0", later, [("d", 1)])
    a, b, c, d = times.computes
    assert a.end_seconds == b.start_seconds
    assert d.start_seconds >= c.end_seconds > b.end_seconds


def test_a_gpus_work_is_waited_for_before_the_cpus_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bringing activations from a GPU waits for all that it still computes: no time of the CPU's next block."""
    checkpoint = model(tmp_path)
    names = [block.name for block in checkpoint.profile.blocks if block.name.startswith("layers")]
    mixed = placed(checkpoint, "bf16").moved({names[2]: Assignment("cpu", "cpu", "bf16")})
    executor = Executor(checkpoint, mixed, 64, runtime=VirtualRuntime())
    order: list[str] = []
    begin, bring = DeviceTimes.begin, torch.Tensor.to

    def begins(times: DeviceTimes, device: str) -> object:
        order.append(f"begin {device}")
        return begin(times, device)

    def brought(x: torch.Tensor, *to: object, **more: object) -> torch.Tensor:
        order.append(f"bring to {to[0]}")
        return bring(x, *to, **more)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(DeviceTimes, "begin", begins)
    monkeypatch.setattr(torch.Tensor, "to", brought)
    executor.run([PROMPT], [0])
    assert order[order.index("begin cpu", order.index("begin cpu") + 1) - 1] == "bring to cpu"  # the first is embed's
    executor.close()
