"""Blocks on a GPU: the executor's own path with the kernels' host build, against the plain layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import write_tiny
from virtual_devices import COMPILED, VirtualRuntime

from llmdist.executor import Executor
from llmdist.model.checkpoint import Checkpoint
from llmdist.planner.placement import Assignment, Placement

pytestmark = COMPILED
PROMPT = [5, 77, 300, 12, 9, 41, 8]
WIDE = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 64, "num_layers": 2, "eos_token_id": None}  # fmt: skip
TOLERANCE = 2**-5  # of the largest logit: roundings that fall differently


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep packed blocks in a folder of the test's own."""
    monkeypatch.setattr("llmdist.model.quantize.cache_folder", lambda: tmp_path / "cache")


def model(folder: Path, family: str = "llama", **more: object) -> Checkpoint:
    """Return a tiny model of sizes that fill the kernels' chunks."""
    return Checkpoint.open(write_tiny(folder / "model", family, "bfloat16", **{**WIDE, **more}))


def placed(checkpoint: Checkpoint, precision: str, homes: str = "", device: str = "cuda:0") -> Placement:
    """Return a placement on `device`; the embedding is looked up on the CPU, layers' homes are `homes` in turn."""
    names = tuple(block.name for block in checkpoint.profile.blocks)
    ring = homes.split() or [device]
    choices = [
        Assignment("cpu", "cpu", "bf16") if name == "embed" else Assignment(device, ring[i % len(ring)], precision)
        for i, name in enumerate(names)
    ]
    return Placement(names, tuple(choices))


def decode(executor: Executor, tokens: list[int], batch: int = 1) -> list[torch.Tensor]:
    """Return the logits of the prompt and of each given token after it."""
    found = [executor.run([PROMPT] * batch, [0] * batch).logits]
    for i, token in enumerate(tokens):
        found.append(executor.run([[token]] * batch, [len(PROMPT) + i] * batch).logits)
    return found


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


def test_why_the_kernels_refuse_is_one_sentence_of_the_executors_note(tmp_path: Path) -> None:
    """Two attention blocks with a cache in int8 are one reason, said once."""
    checkpoint = model(tmp_path)
    executor = Executor(checkpoint, placed(checkpoint, "bf16"), 64, kv="int8", runtime=VirtualRuntime())
    assert executor.note == ""
    decode(executor, [3])
    assert len(executor.device_blocks.notes) == 2
    assert executor.note == executor.device_blocks.reasons[0]
    executor.close()
