"""Blocks that a GPU and its CPU compute together: the right sum, the plan's bytes, moves, the order of events."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from device_models import PROMPT, TOLERANCE, decode, model, placed
from virtual_devices import COMPILED, VirtualRuntime

from llmdist.errors import ModelError
from llmdist.executor import Executor
from llmdist.executor.split_blocks import own_neurons
from llmdist.model.checkpoint import Checkpoint
from llmdist.model.slices import neurons
from llmdist.planner.placement import Assignment, Placement

pytestmark = [COMPILED, pytest.mark.usefixtures("store")]
TOKENS = [3, 700, 31, 9]


def split(placement: Placement, eighths: int, home: str = "cuda:0") -> Placement:
    """Return the placement with every MLP shared."""
    return placement.moved({
        name: Assignment("cuda:0", home, choice.precision, eighths)
        for name, choice in placement.items() if name.endswith(".mlp")
    })  # fmt: skip


HALVES = [("bf16", "cuda:0"), ("bf16", "cpu"), ("int8", "cuda:0"), ("int4", "cpu")]


@pytest.mark.parametrize(("precision", "home"), HALVES)
def test_a_shared_block_computes_what_the_whole_one_does(tmp_path: Path, precision: str, home: str) -> None:
    """Prompt and tokens. Quantised halves round for themselves: they are as near to bf16 as the whole one is."""
    checkpoint = model(tmp_path, intermediate_size=512)
    whole, plain = placed(checkpoint, precision), placed(checkpoint, "bf16")
    found = []
    for placement in (split(whole, 3, home), whole, plain):
        executor = Executor(checkpoint, placement, 64, runtime=VirtualRuntime())
        found.append(torch.stack(decode(executor, TOKENS[:2])))
        assert executor.device_blocks.notes == {}
        executor.close()
    shared, alone, exact = found
    least = TOLERANCE * exact.abs().max()
    assert (shared - exact).abs().max() < max(least, 1.5 * (alone - exact).abs().max())


def test_both_parts_matter(tmp_path: Path) -> None:
    """A CPU that adds nothing gives other logits: the test before can fail."""
    checkpoint = model(tmp_path, intermediate_size=512)
    executor = Executor(checkpoint, split(placed(checkpoint, "bf16"), 3), 64, runtime=VirtualRuntime())
    right = executor.run([PROMPT], [0]).logits
    executor._split._share = lambda name, x, rope: torch.zeros_like(x)  # type: ignore[method-assign]
    wrong = executor.run([PROMPT], [0]).logits
    assert (right - wrong).abs().max() > TOLERANCE * right.abs().max()
    executor.close()


def test_the_bytes_are_those_of_the_whole_block(tmp_path: Path) -> None:
    """Nothing is held twice but the norm, and the device holds no more than its eighths."""
    checkpoint = model(tmp_path, intermediate_size=512)
    whole = placed(checkpoint, "bf16")
    sizes = []
    for placement in (whole, split(whole, 3)):
        executor = Executor(checkpoint, placement, 64, runtime=VirtualRuntime())
        sizes.append(executor.held_bytes)
        executor.close()
    vectors = 2 * 2 * checkpoint.config.hidden_size
    assert sizes[0] <= sizes[1] <= sizes[0] + vectors + 2 * 64
    part = executor._layouts["layers.0.mlp"].nbytes
    block = next(b for b in checkpoint.profile.blocks if b.name == "layers.0.mlp")
    assert part <= block.weight_bytes("bf16") * 5 / 8 + vectors


def test_shares_change_between_two_tokens(tmp_path: Path) -> None:
    """Whole, shared, shared otherwise and whole again: the text goes on."""
    checkpoint = model(tmp_path, intermediate_size=512)
    whole = placed(checkpoint, "bf16")
    executor = Executor(checkpoint, whole, 64, runtime=VirtualRuntime())
    still = Executor(checkpoint, whole, 64, runtime=VirtualRuntime())
    executor.run([PROMPT], [0])
    still.run([PROMPT], [0])
    for i, placement in enumerate((split(whole, 2), split(whole, 5), whole)):
        executor.apply(placement)
        one, other = (e.run([[TOKENS[i]]], [len(PROMPT) + i]).logits for e in (executor, still))
        assert (one - other).abs().max() < TOLERANCE * other.abs().max()
    assert executor._split.nbytes == 0
    executor.close()
    still.close()


def test_a_batch_and_its_records(tmp_path: Path) -> None:
    """Three sequences at once; every block is in the records once, in the model's order."""
    checkpoint = model(tmp_path, intermediate_size=512)
    executor = Executor(checkpoint, split(placed(checkpoint, "bf16"), 4), 64, 3, runtime=VirtualRuntime())
    executor.run([PROMPT] * 3, [0] * 3)
    done = executor.run([[3], [3], [3]], [len(PROMPT)] * 3)
    assert [one.block for one in done.computes] == [block.name for block in checkpoint.profile.blocks]
    assert torch.equal(done.logits[0], done.logits[1])
    executor.close()


def test_neurons_are_cut_where_the_kernels_can_take_them() -> None:
    """Never more than the plan counts for the device; both have some."""
    assert own_neurons(14336, 3, "bf16") == 14336 * 5 // 8
    assert own_neurons(14336, 3, "int4") % 128 == 0
    for inner in (96, 512, 11008, 13824):
        for eighths in range(1, 8):
            for precision in ("bf16", "int8", "int4"):
                assert 0 < own_neurons(inner, eighths, precision) < inner
    assert own_neurons(11008, 5, "int8") <= 11008 * 3 / 8


def test_a_quantised_file_is_not_cut(tmp_path: Path) -> None:
    """One sentence; the planner offers no shares for such a model."""
    entries = dict(model(tmp_path).block_tensors("layers.0.mlp"))
    part = neurons(entries, 0, 32)
    with pytest.raises(ModelError, match="bf16 version"):
        neurons({**entries, "down": part["down"]}, 0, 16)


def test_the_model_on_disk_is_read_by_columns(tmp_path: Path) -> None:
    """Rows of gate, columns of down, exactly."""
    from llmdist.executor.weights import BlockLayout, fill

    checkpoint: Checkpoint = model(tmp_path)
    entries = checkpoint.block_tensors("layers.0.mlp")
    whole, part = BlockLayout.of(entries, "bf16"), BlockLayout.of(neurons(entries, 96, 160), "bf16")
    one, other = (torch.empty(layout.nbytes, dtype=torch.uint8) for layout in (whole, part))
    fill(whole, one)
    fill(part, other)
    wanted, found = whole.views(one), part.views(other)
    assert torch.equal(found["down"], wanted["down"][:, 96:160])
    assert torch.equal(found["gate"], wanted["gate"][96:160])
    assert torch.equal(found["post_norm"], wanted["post_norm"])
