"""Blocks of the CPU that follow each other, in one call: the same bits and the same records as one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import write_tiny

from llmdist.executor import Executor
from llmdist.kernels import compile, tune
from llmdist.model.checkpoint import Checkpoint
from llmdist.planner.placement import Assignment, Placement

pytestmark = pytest.mark.skipif(compile.compiler() is None, reason="no C++ compiler")
PROMPT = [5, 77, 300, 12, 9]


@pytest.fixture(autouse=True)
def kernels_won(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the kernels whatever the timing on this machine says."""
    won = dict.fromkeys(("bf16", "int8"), tune.Choice(1, 8, "kernel", "kernel", "kernel", "kernel"))
    monkeypatch.setattr("llmdist.kernels.decode.choices", lambda: won)


@pytest.mark.parametrize("streamed", [(), ("layers.1.mlp",)], ids=["resident", "one streamed"])
@pytest.mark.parametrize(("precision", "kv", "batch"), [("bf16", "", 1), ("int8", "int8", 1), ("bf16", "", 3)])
def test_in_one_call_as_one_by_one(
    tmp_path: Path, precision: str, kv: str, batch: int, streamed: tuple[str, ...]
) -> None:
    """Logits to the bit; every block is recorded in order, one after the other, within the request."""
    checkpoint = Checkpoint.open(write_tiny(tmp_path / "tiny", "qwen3", "bfloat16", num_layers=4))
    names = tuple(block.name for block in checkpoint.profile.blocks)
    homes = {name: "disk" if name in streamed else "cpu" for name in names}
    placement = Placement(names, tuple(Assignment("cpu", homes[name], precision) for name in names))
    found, called = [], 0
    for as_one in (True, False):
        executor = Executor(checkpoint, placement, 32, batch, kv=kv)
        together = executor._fused.compute_run

        def counted(*arguments: Any, call: Any = together if as_one else None) -> Any:
            nonlocal called
            called += call is not None
            return call(*arguments) if call is not None else None

        executor._fused.compute_run = counted  # type: ignore[method-assign]
        logits = [executor.run([PROMPT] * batch, [0] * batch).logits]
        for position in range(len(PROMPT), len(PROMPT) + 3):
            done = executor.run([[3 + row] for row in range(batch)], [position] * batch)
            logits.append(done.logits)
            assert tuple(one.block for one in done.computes) == names
            ends = [one.end_seconds for one in done.computes]
            starts = [one.start_seconds for one in done.computes]
            assert all(end <= start + 1e-4 for end, start in zip(ends, starts[1:], strict=False))
        found.append(torch.stack([one[:batch] for one in logits]))
        executor.close()
    assert torch.equal(*found)
    assert called == (8 if streamed else 4)  # a prompt of five tokens and three steps, around what is streamed
