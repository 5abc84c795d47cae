"""Several sequences in one pass: each gives what it gives alone, and streamed weights are read once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from running import placement_of
from tiny import write_tiny

from llmdist.executor import Executor
from llmdist.executor.microbatch import cut, passes
from llmdist.model.checkpoint import Checkpoint

PROMPTS = [[5, 77, 300], [12, 9, 41, 8, 100, 7, 3, 55], [2], [91, 92, 93], [8, 6, 4, 2, 1]]
FAMILIES = [("llama", {}), ("gemma2", {}), ("mistral", {"sliding_window": 4})]


def executor_of(folder: Path, batch: int, streamed: bool) -> Executor:
    """Return an executor in float32, everything streamed or everything resident."""
    checkpoint = Checkpoint.open(folder)
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    return Executor(checkpoint, placement_of(blocks, set(blocks) if streamed else set()), 64, batch)


def greedy(executor: Executor, prompts: list[list[int]], count: int) -> tuple[list[list[int]], list[torch.Tensor]]:
    """Return the greedy tokens of every prompt, and the logits of each step."""
    positions, step = [0] * len(prompts), prompts
    tokens: list[list[int]] = [[] for _ in prompts]
    logits = []
    for _ in range(count):
        logits.append(executor.run(step, positions).logits)
        positions = [p + len(s) for p, s in zip(positions, step, strict=True)]
        step = [[int(row.argmax())] for row in logits[-1]]
        for kept, new in zip(tokens, step, strict=True):
            kept += new
    return tokens, logits


@pytest.mark.parametrize(("family", "overrides"), FAMILIES)
def test_each_sequence_of_a_batch_gives_what_it_gives_alone(
    tmp_path: Path, family: str, overrides: dict[str, int]
) -> None:
    """Prompts of five lengths together have the tokens and the logits of five runs alone."""
    folder = write_tiny(tmp_path / "model", family, **overrides)
    executor = executor_of(folder, len(PROMPTS), streamed=True)
    together, logits = greedy(executor, PROMPTS, 12)
    executor.close()
    for i, prompt in enumerate(PROMPTS):
        alone = executor_of(folder, 1, streamed=False)
        tokens, expected = greedy(alone, [prompt], 12)
        alone.close()
        assert together[i] == tokens[0]
        for got, wanted in zip(logits, expected, strict=True):
            torch.testing.assert_close(got[i], wanted[0], rtol=1e-3, atol=1e-3)


def test_streamed_weights_are_read_once_for_all_sequences(tmp_path: Path) -> None:
    """A pass over five sequences, and a prompt of many chunks, move the bytes of one block of each kind."""
    executor = executor_of(write_tiny(tmp_path / "model"), len(PROMPTS), streamed=True)
    executor.chunk = 8
    once = executor.run([[1]] * 5, [0] * 5).bytes_moved
    assert executor.run(PROMPTS, [0] * 5).bytes_moved == once
    assert executor.run([list(range(50))], [0]).bytes_moved == once
    executor.pass_tokens = 8
    assert executor.run([list(range(50))], [0]).bytes_moved == 7 * once
    executor.close()


def test_logits_of_several_last_tokens_are_those_of_single_steps(tmp_path: Path) -> None:
    """`keep` gives what each of the last tokens predicts, for every sequence."""
    folder = write_tiny(tmp_path / "model")
    executor = executor_of(folder, 2, streamed=False)
    executor.run([[5, 6, 7], [8, 9]], [0, 0])
    kept = executor.run([[1, 2, 3], [4, 5, 6]], [3, 2], keep=3).logits
    executor.run([[5, 6, 7], [8, 9]], [0, 0])
    for j, step in enumerate(([[1], [4]], [[2], [5]], [[3], [6]])):
        single = executor.run(step, [3 + j, 2 + j]).logits
        torch.testing.assert_close(kept[[j, 3 + j]], single, rtol=1e-3, atol=1e-3)
    executor.close()


def test_what_was_guessed_wrong_is_forgotten_by_position(tmp_path: Path) -> None:
    """Tokens run from an earlier position again leave no trace of those that stood there."""
    executor = executor_of(write_tiny(tmp_path / "model"), 1, streamed=False)
    executor.run([[5, 6, 7]], [0])
    expected = executor.run([[8]], [3]).logits
    executor.run([[100, 101, 102, 103]], [3])
    torch.testing.assert_close(executor.run([[8]], [3]).logits, expected)
    executor.close()


def test_micro_batches_keep_every_token_once_and_in_order() -> None:
    """Cutting and grouping lose nothing and respect both limits."""
    tokens = [[1, 2, 3], [4, 5, 6], [7] * 20, [8], [9]]
    batches = cut(tokens, [0, 0, 3, 5, 6], chunk=8)
    assert all(batch.tokens.numel() <= 8 for batch in batches)
    seen: list[list[int]] = [[] for _ in tokens]
    for batch in batches:
        for row, part in zip(range(batch.rows.start, batch.rows.stop), batch.tokens.tolist(), strict=True):
            seen[row] += part
    assert seen == tokens
    assert [batch.last for batch in batches] == [True, False, False, True, True]
    groups = passes(batches, 12)
    assert [batch for group in groups for batch in group] == batches
    assert all(sum(batch.tokens.numel() for batch in group) <= 12 for group in groups)
