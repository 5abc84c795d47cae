"""Blocks that stream to a GPU: copies by a lane, ordered by events alone, with the bytes and the memory of the plan."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from test_device import TOLERANCE, decode, model, placed
from virtual_devices import COMPILED, VirtualRuntime

from llmdist.errors import ModelError
from llmdist.executor import Executor
from llmdist.executor.staging import Staged
from llmdist.executor.virtual import races

pytestmark = COMPILED
TOKENS = [3, 700, 31, 9]
HOMES = {
    "from RAM": "cpu",
    "from disk": "disk",
    "from both": "cpu disk",
    "some": "cuda:0 cpu cuda:0 disk disk",
}


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep packed blocks in a folder of the test's own."""
    monkeypatch.setattr("llmdist.model.quantize.cache_folder", lambda: tmp_path / "cache")


def watched(executor: Executor, runtime: VirtualRuntime) -> None:
    """Let the log know which slot the device reads for which block."""
    pool = executor._pool
    plain = pool.hand_out

    def hand_out(staged: Staged) -> Staged:
        found = plain(staged)
        copy = staged.copy
        if copy.exec_device != "cpu":
            runtime.computes(copy.exec_device, copy.block, pool.slots[copy.exec_device, copy.slot])
        return found

    pool.hand_out = hand_out  # type: ignore[method-assign]


@pytest.mark.parametrize("streaming", [True, False], ids=["prefetching", "sequential"])
@pytest.mark.parametrize("homes", HOMES.values(), ids=list(HOMES))
def test_streamed_tokens_are_the_resident_ones_and_nothing_races(tmp_path: Path, homes: str, streaming: bool) -> None:
    """Copies run as late as events allow, so a wait too few would compute with the weights of another block."""
    checkpoint, runtime = model(tmp_path, "llama", num_layers=3), VirtualRuntime()
    resident = Executor(checkpoint, placed(checkpoint, "int8"), 64, runtime=VirtualRuntime())
    executor = Executor(checkpoint, placed(checkpoint, "int8", homes), 64, streaming=streaming, runtime=runtime)
    watched(executor, runtime)
    wanted = decode(resident, TOKENS)
    for got, expected in zip(decode(executor, TOKENS), wanted, strict=True):
        assert torch.equal(got, expected)
    assert races(runtime.log.program()) == []
    executor.close()
    resident.close()


def test_every_wait_is_needed(tmp_path: Path) -> None:
    """Each wait on an event, left out of what was queued, is a race that the vector clocks see."""
    checkpoint, runtime = model(tmp_path, "llama", num_layers=3), VirtualRuntime()
    executor = Executor(checkpoint, placed(checkpoint, "bf16", "cpu disk"), 64, runtime=runtime)
    watched(executor, runtime)
    decode(executor, TOKENS)
    executor.close()
    program = runtime.log.program()
    waits = [i for i, operation in enumerate(program.operations) if operation.kind == "wait"]
    assert len(waits) > 60
    before = {o.subject for o in program.operations if o.kind == "compute"}
    assert before == set(executor.schedule.computes[i].block for i in range(1, 8))
    last = {o.stream: i for i, o in enumerate(program.operations) if o.kind in ("copy", "compute")}
    missed = [i for i in waits if i < last[program.operations[i].stream] and not races(program.without(i))]
    assert missed == []


def test_bytes_and_memory_are_the_plans(tmp_path: Path) -> None:
    """A token moves each streamed block once; held are resident blocks, slots, pinned buffers and the cache."""
    checkpoint, runtime = model(tmp_path, "llama", num_layers=3), VirtualRuntime()
    placement = placed(checkpoint, "bf16", "cuda:0 cpu cuda:0 disk")
    executor = Executor(checkpoint, placement, 64, runtime=runtime)
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
    resident = Executor(checkpoint, placed(checkpoint, "bf16"), 64, runtime=VirtualRuntime())
    wanted = decode(resident, TOKENS)
    resident.close()
    executor = Executor(checkpoint, placed(checkpoint, "bf16", "cpu"), 64, runtime=runtime)
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
    executor = Executor(checkpoint, placed(checkpoint, "bf16", "disk"), 64, runtime=VirtualRuntime())
    decode(executor, TOKENS[:1])
    (weights,) = sorted(Path(checkpoint.folder).glob("*.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"cut short or replaced"):
        for position in range(8, 16):
            executor.run([[3]], [position])
    executor.close()
