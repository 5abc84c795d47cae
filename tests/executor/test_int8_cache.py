"""Keys and values in 8 bits: what rounding costs, that the plan counts their bytes, that every way gives the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from running import placement_of
from tiny import write_tiny

import llmdist
from llmdist.bench.quality import quality_report
from llmdist.cost.memory import kv_bytes
from llmdist.errors import PlanError
from llmdist.executor import Executor
from llmdist.kernels.cpu import kernels
from llmdist.kernels.int8_cache import Int8Cache, quantise_rows
from llmdist.model.checkpoint import Checkpoint
from llmdist.planner import PlanResult

PROMPT = [(7 * i) % 700 for i in range(40)]
FAMILIES = ("llama", "qwen3", "gemma2", "mixtral")  # compiled with and without norms of heads; by the layers
NEW = 8


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """Return a tiny model per family."""
    folder = tmp_path_factory.mktemp("models")
    return {name: Checkpoint.open(write_tiny(folder / name, name, eos_token_id=None)) for name in FAMILIES}


def executor_of(checkpoint: Checkpoint, kv: str, streamed: bool = False, batch: int = 1, context: int = 64) -> Executor:
    """Return an executor whose blocks all rest in memory, or all on disk."""
    blocks = tuple(block.name for block in checkpoint.profile.blocks)
    return Executor(checkpoint, placement_of(blocks, set(blocks) if streamed else set()), context, batch, kv=kv)


def logits_of(executor: Executor, prompt: list[int] = PROMPT, given: list[int] | None = None) -> torch.Tensor:
    """Return the logits after the prompt and after each of the greedy tokens behind it, or of those `given`."""
    rows = [executor.forward(torch.tensor([prompt]), 0).logits]
    for i in range(NEW):
        token = rows[-1].argmax(-1, keepdim=True) if given is None else torch.tensor([[given[i]]])
        rows.append(executor.forward(token, len(prompt) + i).logits)
    executor.close()
    return torch.cat(rows)


@pytest.mark.parametrize("size", [1, 20, 64, 128])
@pytest.mark.parametrize("largest", [0.0, 1e-35, 1e-3, 1.0, 3e4])
def test_no_number_is_off_by_more_than_half_a_step(size: int, largest: float) -> None:
    """A vector comes back within half a step of its scale; zeros and the tiniest vectors do so as well."""
    rows = torch.randn(2, 3, 5, size, generator=torch.Generator().manual_seed(size)).mul_(largest)
    rounded, scales = quantise_rows(rows)
    assert rounded.dtype == torch.int8 and scales.dtype == torch.bfloat16 and scales.shape == rows.shape[:-1]
    cache = Int8Cache(rounded, scales)
    back = torch.cat([cache.plain(head, 0, 5, torch.float32) for head in range(3)], dim=1)
    assert ((back - rows).abs() <= 0.51 * scales.float()[..., None] + 1e-28).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_close_to_those_of_a_plain_cache(checkpoints: dict[str, Checkpoint], family: str) -> None:
    """Of random weights, harsher than trained ones, logits change by 3 % of their norm; other experts cost more."""
    plain, packed = (logits_of(executor_of(checkpoints[family], kv), given=PROMPT) for kv in ("", "int8"))
    error = (packed - plain).norm(dim=1) / plain.norm(dim=1)
    assert error.median() < 0.04 and error.max() < 0.2
    assert error.max() > 0, "the cache was not in 8 bits"


@pytest.mark.skipif(kernels() is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_compiled_attention_reads_what_the_layers_write(checkpoints: dict[str, Checkpoint], family: str) -> None:
    """Compiled code on a cache that the layers filled gives the layers' logits, and adds the bytes that they add."""
    checkpoint = checkpoints[family]
    own, layers = executor_of(checkpoint, "int8"), executor_of(checkpoint, "int8")
    layers._fused.compute = lambda *_: None  # type: ignore[method-assign]
    for executor in (own, layers):
        executor.forward(torch.tensor([PROMPT]), 0)
    token = torch.tensor([[9]])
    found, expected = own.forward(token, len(PROMPT)).logits, layers.forward(token, len(PROMPT)).logits
    assert (found - expected).norm() < 2e-3 * expected.norm()
    for mine, theirs in zip(own.cache["layers.0.attention"], layers.cache["layers.0.attention"], strict=True):
        assert isinstance(mine, Int8Cache) and isinstance(theirs, Int8Cache)
        assert (mine.values.int() - theirs.values.int()).abs().max() <= 1
        assert torch.allclose(mine.scales.float(), theirs.scales.float(), rtol=0.01)
    own.close()
    layers.close()


@pytest.mark.skipif(kernels() is None, reason="needs a C++ compiler")
def test_a_decode_step_unpacks_no_cache(checkpoints: dict[str, Checkpoint]) -> None:
    """What compiled code takes for one token of a long text is far below the cache that it reads."""
    library = kernels()
    assert library is not None
    executor = executor_of(checkpoints["llama"], "int8", context=256)
    executor.forward(torch.tensor([[3] * 254]), 0)
    library.llmdist_free_scratch()
    executor.forward(torch.tensor([[3]]), 254)
    keys, values = executor.cache["layers.0.attention"]
    assert isinstance(keys, Int8Cache) and isinstance(values, Int8Cache)
    unpacked = 4 * (keys.values.numel() + values.values.numel())
    scores = 4 * 4 * 255
    assert library.llmdist_scratch_bytes() - scores < max(70_000, unpacked // 4)
    executor.close()


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_streamed_batched_and_single_runs_agree(checkpoints: dict[str, Checkpoint], family: str) -> None:
    """Streamed logits are the resident ones to the bit; sequences of a batch give the tokens that they give alone."""
    checkpoint = checkpoints[family]
    alone = [logits_of(executor_of(checkpoint, "int8"), prompt) for prompt in (PROMPT, PROMPT[:17])]
    assert torch.equal(logits_of(executor_of(checkpoint, "int8", streamed=True)), alone[0])
    batch = executor_of(checkpoint, "int8", streamed=True, batch=2)
    tokens, starts = [PROMPT, PROMPT[:17]], [0, 0]
    for step in range(NEW + 1):
        logits = batch.run(tokens, starts).logits
        for row in range(2):
            assert int(logits[row].argmax()) == int(alone[row][step].argmax())
            assert (logits[row] - alone[row][step]).norm() < 1e-4 * alone[row][step].norm()
        starts = [start + len(t) for start, t in zip(starts, tokens, strict=True)]
        tokens = [[int(row.argmax())] for row in logits]
    batch.close()


@pytest.fixture(scope="module")
def session(checkpoints: dict[str, Checkpoint]) -> llmdist.Session:
    """Return an inline session of the tiny Llama."""
    return llmdist.load(str(checkpoints["llama"].folder), isolate=False)


def test_the_plan_counts_the_bytes_that_the_cache_takes(session: llmdist.Session) -> None:
    """Planned and allocated bytes of the KV cache are equal, and a plan in 8 bits needs so much less memory."""
    sizes, peaks = {}, {}
    for kv in (None, "int8"):
        plan = session.plan(precision="bf16", context=200, batch=3, kv=kv, seconds=0.2)
        sizes[kv] = sum(kv_bytes(plan.problem, block) for block in plan.problem.blocks)
        peaks[kv] = plan.prediction.peak_bytes["cpu"] - plan.problem.workspace_bytes
        list(session.generate_batch([[5, 6], [7, 8], [9]], 2))
        assert session._chain is not None
        executor = session._chain._stage._worker._executor  # type: ignore[union-attr]
        assert executor.cache.nbytes == sizes[kv]
    head = session.checkpoint.config.head_dim
    assert sizes["int8"] / sizes[None] == (head + 2) / (2 * head)
    assert peaks[None] - peaks["int8"] == sizes[None] - sizes["int8"]


def test_a_plan_file_keeps_the_cache_in_8_bits(session: llmdist.Session, tmp_path: Path) -> None:
    """A saved plan is read with its KV cache and predicts the same."""
    plan = session.plan(context=128, kv="int8", seconds=0.2)
    plan.save(tmp_path / "plan.json")
    read = PlanResult.load(tmp_path / "plan.json")
    assert read.problem == plan.problem and read.problem.workload.kv_precision == "int8"
    assert read.prediction == plan.prediction and read.placement == plan.placement


def test_a_plan_during_a_generation_keeps_the_cache(session: llmdist.Session) -> None:
    """Planning again between two tokens goes on in 8 bits, and the tokens stay."""
    session.plan(context=64, kv="int8", seconds=0.2)
    expected = [step.token_id for step in session.generate([5, 77, 300], NEW)]
    tokens = []
    for step in session.generate([5, 77, 300], NEW):
        tokens.append(step.token_id)
        if step.index == 3:
            assert session.plan(seconds=0.2).problem.workload.kv_precision == "int8"
    assert tokens == expected


def test_quality_is_reported_for_the_cache_too() -> None:
    """Of the bundled model no answer is lost, and its shares of the next token stay within 0.001 nats."""
    plain, packed = quality_report((), tales=2, caches=("int8",))
    assert packed.precision == "bf16, KV int8" and packed.questions == plain.questions > 0
    assert packed.exact_match == plain.exact_match
    assert 0 < packed.divergence < 1e-3 and packed.perplexity == pytest.approx(plain.perplexity, rel=1e-2)


def test_other_caches_are_refused_in_one_sentence(session: llmdist.Session) -> None:
    """An unknown precision, and a model with a cache of its own, say what to do."""
    with pytest.raises(PlanError, match="KV cache in int4 was asked: give int8"):
        session.plan(kv="int4", seconds=0.2)
    foreign = replace(session.profile.blocks[1], name="layers.0.block", kind="layer")
    blocks = (session.profile.blocks[0], foreign, session.profile.blocks[-1])
    with pytest.raises(PlanError, match="transformers' own modules"):
        llmdist.plan_for(replace(session.profile, blocks=blocks), "laptop8g", kv="int8", seconds=0.2)
