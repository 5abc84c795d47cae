"""int8 and int4 blocks end to end: what they compute, what they weigh, and how they are kept on disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from running import placement_of
from tiny import write_tiny
from torch import Tensor

from llmdist.cost.memory import peak_bytes
from llmdist.errors import ModelError, PlanError
from llmdist.executor import Executor, weights
from llmdist.hardware.profile import Device, HardwareProfile, Link
from llmdist.kernels import pack
from llmdist.model.checkpoint import Checkpoint
from llmdist.model.quantize import PackedStore
from llmdist.planner import Assignment, Placement
from llmdist.planner.build import build_problem

PROMPT = [5, 77, 300, 12, 9, 41, 8]


def names(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return the block names."""
    return tuple(block.name for block in checkpoint.profile.blocks)


def logits(checkpoint: Checkpoint, placement: Placement, count: int = 6) -> Tensor:
    """Return the logits of a prompt and of `count` greedy steps."""
    executor = Executor(checkpoint, placement, 64)
    found, position, step = [], 0, PROMPT
    for _ in range(count):
        found.append(executor.forward(torch.tensor([step]), position).logits)
        position += len(step)
        step = [int(found[-1].argmax())]
    executor.close()
    return torch.cat(found)


def mixed(checkpoint: Checkpoint) -> Placement:
    """Return a placement with three precisions and two homes."""
    precisions = ("bf16", "int8", "int4")
    return Placement(
        names(checkpoint),
        tuple(
            Assignment("cpu", "disk" if i % 3 == 1 else "cpu", precisions[i % 3]) for i in range(len(names(checkpoint)))
        ),
    )


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_quantised_runs_equal_transformers_on_the_rounded_weights(store: Path, tmp_path: Path, precision: str) -> None:
    """The logits are those of a model whose matrices are what the packed bytes stand for, up to activations in bf16."""
    from transformers import AutoModelForCausalLM

    folder = write_tiny(tmp_path / "model", "qwen3")
    checkpoint = Checkpoint.open(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "embed" not in name:
                weight.copy_(pack(weight, precision).dequantise())
        expected = model(torch.tensor([PROMPT])).logits[0, -1]
    got = logits(checkpoint, placement_of(names(checkpoint), set(), precision), 1)[0]
    assert (got - expected).norm() < (0.02 if precision == "int8" else 0.06) * expected.norm()


def test_resident_streamed_and_mixed_runs_agree_among_themselves(store: Path, tmp_path: Path) -> None:
    """Where a block rests does not change a bit of the logits; three precisions run side by side."""
    checkpoint = Checkpoint.open(write_tiny(tmp_path / "model", "qwen2", tie=True))
    every = names(checkpoint)
    for precision in ("int8", "int4"):
        resident = logits(checkpoint, placement_of(every, set(), precision))
        assert torch.equal(resident, logits(checkpoint, placement_of(every, set(every), precision)))
    placement = mixed(checkpoint)
    at_home = Placement(every, tuple(Assignment("cpu", "cpu", a.precision) for a in placement.assignments))
    assert torch.equal(logits(checkpoint, placement), logits(checkpoint, at_home))


def test_the_plan_counts_the_bytes_that_the_executor_holds(store: Path, tmp_path: Path) -> None:
    """Weights, slots and KV cache are equal to the byte, for each precision and a mixture, tied or not."""
    devices = (
        Device("cpu", "cpu", 1 << 34, 1 << 34, 1e10, 1e11, 1e-5),
        Device("disk", "disk", 1 << 40, 1 << 40, 1e9),
    )
    machine = HardwareProfile("test", devices, (Link("disk", "cpu", 1e9, 1e-4),), "2026-11-25")
    for tie in (False, True):
        checkpoint = Checkpoint.open(write_tiny(tmp_path / f"model-{tie}", "qwen2", tie=tie, dtype="bfloat16"))
        every = names(checkpoint)
        placements = [placement_of(every, set(every[1::2]), p) for p in ("bf16", "fp32", "int8", "int4")]
        for placement in (*placements, mixed(checkpoint)):
            precisions = ",".join(dict.fromkeys(a.precision for a in placement.assignments))
            problem = build_problem(checkpoint.profile, machine, precision=precisions, context=64)
            executor = Executor(checkpoint, placement, problem.workload.context, slots=problem.slots)
            planned = peak_bytes(problem, placement)["cpu"] - problem.workspace_bytes
            assert executor.held_bytes == planned, precisions
            executor.close()


def test_the_second_load_reads_what_the_first_one_made(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No block is quantised twice; a damaged file is made again, and another checkpoint uses none of them."""
    folder = write_tiny(tmp_path / "model")
    checkpoint = Checkpoint.open(folder)
    placement = placement_of(names(checkpoint), set(names(checkpoint)[::2]), "int4")
    first = logits(checkpoint, placement)
    made: list[int] = []
    real = weights.quantise_block
    monkeypatch.setattr(weights, "quantise_block", lambda *a: (made.append(1), real(*a)))
    assert torch.equal(logits(checkpoint, placement), first) and made == []
    file = PackedStore(checkpoint.identity()).path("layers.1.mlp", "int4")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert torch.equal(logits(checkpoint, placement), first) and len(made) == 1
    assert file.read_bytes() == whole
    os.utime(folder / "model.safetensors", ns=(1, 1))
    again = Checkpoint.open(folder)
    assert torch.equal(logits(again, placement), first) and len(made) == 1 + len(names(checkpoint)) - 1


def test_a_full_disk_costs_only_the_next_load_of_resident_blocks(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resident blocks run with a note; streamed blocks have no home and give one clear error; no draft is left."""
    checkpoint = Checkpoint.open(write_tiny(tmp_path / "model"))
    every = names(checkpoint)
    expected = logits(checkpoint, placement_of(every, set(), "int8"))
    for file in store.rglob("*.int8"):
        file.unlink()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    executor = Executor(checkpoint, placement_of(every, set(), "int8"), 64)
    assert "No space left on device" in executor.note and "goes on without" in executor.note
    assert torch.equal(executor.run([PROMPT], [0]).logits, expected[:1])
    executor.close()
    with pytest.raises(ModelError, match="disk refused"):
        Executor(checkpoint, placement_of(every, set(every), "int8"), 64)
    assert list(store.rglob("*.draft")) == []


def test_two_plain_precisions_in_one_plan_are_refused(tmp_path: Path) -> None:
    """Activations have one type, so bf16 and fp32 cannot both be allowed."""
    checkpoint = Checkpoint.open(write_tiny(tmp_path / "model"))
    cpu = Device("cpu", "cpu", 1 << 34, 1 << 34, 1e10, 1e11, 1e-5)
    with pytest.raises(PlanError, match="at most one of fp32, bf16, fp16"):
        build_problem(checkpoint.profile, HardwareProfile("test", (cpu,), (), "2026-11-25"), precision="bf16,fp32,int8")
