"""Blocks that stream to a GPU: copies by a lane, ordered by events alone, with the bytes and the memory of the plan."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from device_models import TOLERANCE, decode, model, placed
from virtual_devices import COMPILED, VirtualRuntime

from llmdist.bench.gpu import scenario_config
from llmdist.cost.workspace import workspace_bytes
from llmdist.errors import ModelError
from llmdist.executor import Executor
from llmdist.executor.staging import Staged
from llmdist.executor.virtual import races
from llmdist.kernels.fused_step import FusedStep
from llmdist.kernels.launch import Attention
from llmdist.model.shapes import shape

pytestmark = [COMPILED, pytest.mark.usefixtures("store")]
TOKENS = [3, 700, 31, 9]
HOMES = {
    "from RAM": "cpu",
    "from disk": "disk",
    "from both": "cpu disk",
    "some": "cuda:0 cpu cuda:0 disk disk",
}


def watched(executor: Executor, runtime: VirtualRuntime) -> None:
    """Let the log know which slot the device reads for which block."""
    pool = executor._pool
    usual = pool.hand_out

    def hand_out(staged: Staged) -> Staged:
        found = usual(staged)
        copy = staged.copy
        if copy.exec_device != "cpu":
            runtime.computes(copy.exec_device, copy.block, pool.slots[copy.exec_device, copy.slot])
        return found

    pool.hand_out = hand_out  # type: ignore[method-assign]


def plain(executor: Executor) -> Executor:
    """Compute through the plain layers: kernels in their host build take a tenth of a second each."""
    executor.device_blocks.compute = lambda *_: None  # type: ignore[method-assign]
    return executor


@pytest.mark.parametrize("streaming", [True, False], ids=["prefetching", "sequential"])
@pytest.mark.parametrize("homes", HOMES.values(), ids=list(HOMES))
def test_streamed_tokens_are_the_resident_ones_and_nothing_races(tmp_path: Path, homes: str, streaming: bool) -> None:
    """Copies run as late as events allow, so a wait too few would compute with the weights of another block."""
    checkpoint, runtime = model(tmp_path, "llama", num_layers=3), VirtualRuntime()
    resident = plain(Executor(checkpoint, placed(checkpoint, "bf16"), 64, runtime=VirtualRuntime()))
    executor = plain(
        Executor(checkpoint, placed(checkpoint, "bf16", homes), 64, streaming=streaming, runtime=runtime)
    )
    watched(executor, runtime)
    wanted = decode(resident, TOKENS)
    for got, expected in zip(decode(executor, TOKENS), wanted, strict=True):
        assert torch.equal(got, expected)
    assert races(runtime.log.program()) == []
    executor.close()
    resident.close()


def test_fused_kernels_read_the_slots(tmp_path: Path) -> None:
    """Quantised blocks in the kernels' order, streamed from memory and disk: the resident tokens."""
    checkpoint = model(tmp_path, "llama")
    resident, streamed = (
        Executor(checkpoint, placed(checkpoint, "int8", homes), 64, runtime=VirtualRuntime())
        for homes in ("", "cpu disk")
    )
    for got, expected in zip(decode(streamed, TOKENS[:2]), decode(resident, TOKENS[:2]), strict=True):
        assert torch.equal(got, expected)
    assert streamed.device_blocks.notes == {}
    streamed.close()
    resident.close()


def test_every_wait_is_needed(tmp_path: Path) -> None:
    """Each wait on an event, left out of what was queued, is a race that the vector clocks see."""
    checkpoint, runtime = model(tmp_path, "llama", num_layers=3), VirtualRuntime()
    executor = plain(Executor(checkpoint, placed(checkpoint, "bf16", "cpu disk"), 64, runtime=runtime))
    watched(executor, runtime)
    decode(executor, TOKENS)
    executor.close()
    program = runtime.log.program()
    waits = [i for i, operation in enumerate(program.operations) if operation.kind == "wait"]
    assert len(waits) > 60
    before = {o.subject for o in program.operations if o.kind == "compute"}
    assert before == {executor.schedule.computes[i].block for i in range(1, 8)}
    last = {o.stream: i for i, o in enumerate(program.operations) if o.kind in ("copy", "compute")}
    missed = [i for i in waits if i < last[program.operations[i].stream] and not races(program.without(i))]
    assert missed == []


def test_bytes_and_memory_are_the_plans(tmp_path: Path) -> None:
    """A token moves each streamed block once; held are resident blocks, slots, pinned buffers and the cache."""
    checkpoint, runtime = model(tmp_path, "llama", num_layers=3), VirtualRuntime()
    placement = placed(checkpoint, "bf16", "cuda:0 cpu cuda:0 disk")
    executor = plain(Executor(checkpoint, placement, 64, runtime=runtime))
    decode(executor, TOKENS)
    streamed = {n: c.home_device for n, c in placement.items() if c.copies and n != "embed"}
    sizes = {name: executor._layouts[name].nbytes for name in placement.blocks}
    found = executor.run([[5]], [12])
    assert found.bytes_moved == sum(sizes[name] for name in streamed)
    through = [sizes[name] for name, home in streamed.items() if home == "disk"]
    slots = 2 * max(sizes[name] for name in streamed) + 2 * max(through)
    weights = sum(w.nbytes for w in executor._weights.values())
    assert executor.held_bytes == weights + slots + executor.cache.nbytes
    executor.close()


def test_a_placement_applied_between_tokens_and_a_second_card(tmp_path: Path) -> None:
    """From one card to two, one streaming from disk: the same tokens, no thread left behind."""
    checkpoint, runtime = model(tmp_path, "qwen3", num_layers=3), VirtualRuntime()
    threads = threading.active_count()
    resident = plain(Executor(checkpoint, placed(checkpoint, "bf16"), 64, runtime=VirtualRuntime()))
    wanted = decode(resident, TOKENS)
    resident.close()
    executor = plain(Executor(checkpoint, placed(checkpoint, "bf16", "cpu"), 64, runtime=runtime))
    found = decode(executor, TOKENS[:2])
    first, second = placed(checkpoint, "bf16", "cpu"), placed(checkpoint, "bf16", "disk", "cuda:1")
    mixed = [a if i < 4 else b for i, (a, b) in enumerate(zip(first.assignments, second.assignments, strict=True))]
    executor.apply(type(first)(first.blocks, tuple(mixed)))
    found += [executor.run([[token]], [9 + i]).logits for i, token in enumerate(TOKENS[2:])]
    for got, expected in zip(found, wanted, strict=True):
        assert (got - expected).abs().max() < TOLERANCE * expected.abs().max()
    executor.close()
    assert threading.active_count() == threads


def test_a_file_that_is_cut_while_streaming_is_one_sentence(tmp_path: Path) -> None:
    """The error comes out of the pass that needs the block; closing then waits for nothing."""
    checkpoint = model(tmp_path, "llama", num_layers=3)
    executor = plain(Executor(checkpoint, placed(checkpoint, "bf16", "disk"), 64, runtime=VirtualRuntime()))
    decode(executor, TOKENS[:1])
    (weights,) = sorted(Path(checkpoint.folder).glob("*.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"cut short or replaced"):
        for position in range(8, 16):
            executor.run([[3]], [position])
    executor.close()


@pytest.mark.parametrize("batch", [1, 8, 32])
def test_the_scratch_of_fused_steps_fits_into_the_planned_workspace(batch: int) -> None:
    """For an 8B of 4096 tokens, as many steps as are kept at once, beside nothing else."""
    profile, config = shape("llama-3-8b"), scenario_config()
    counted = workspace_bytes(profile.blocks, profile.hidden_size, profile.vocab_size, 4096, batch, "bf16")
    splits = Attention.choose_splits(batch, config.num_kv_heads, 4096, 132)
    attention = Attention(config.num_heads, config.num_kv_heads, config.head_dim, 4096, splits)
    module = VirtualRuntime().module([], "cuda:0")
    step = FusedStep(config, module, attention, batch, torch.bfloat16, torch.device("meta"))
    assert 4 * batch * config.vocab_size < step.nbytes < counted / 2


def test_steps_of_few_sizes_are_kept(tmp_path: Path) -> None:
    """A batch that loses sequences leaves no scratch behind for every size that it had."""
    checkpoint = model(tmp_path, "llama", num_layers=1)
    executor = Executor(checkpoint, placed(checkpoint, "bf16"), 64, batch=4, runtime=VirtualRuntime())
    executor.run([[5, 6]] * 4, [0] * 4)
    for rows in (4, 2, 1):
        executor.run([[7]] * rows, [2] * rows)
    assert len(executor.device_blocks._steps) == 2
    executor.close()
