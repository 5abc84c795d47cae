"""Whole plans on the GPU: a model in files, planned under a cap, run by the engine that every session uses.

The engine is a process of its own, so a ballast in this one leaves it exactly the memory that the scenario grants: what
it takes beyond that fails, as on a small card.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..errors import LlmdistError
from ..hardware import hardware_profile
from ..model.checkpoint import Checkpoint
from ..paths import child_environment
from ..planner import MaxSeconds, PlanResult, solve
from ..planner.build import build_problem
from ..planner.placement import Placement
from ..stage.chain import Chain
from ..stage.messages import Load, Stepped
from .rows import Row
from .synthetic import SHAPES, write_synthetic

__all__ = ["PLANS", "PlanScenario", "plan_rows"]

_GIB = 1 << 30
_CONTEXT = 2048


@dataclass(frozen=True, slots=True)
class PlanScenario:
    """A shape of `synthetic`, the precisions and modes that a plan may use, and the GiB of the card it may take."""

    shape: str
    precision: str
    granted: int
    batch: int = 1
    prompt: int = 1024
    tokens: int = 24
    modes: tuple[str, ...] = ("resident", "streamed", "split")
    peers: tuple[str, ...] = ()


_STREAMED = ("resident", "streamed")
_RESIDENT_PEERS = ("transformers, eager", "transformers, static cache and compile")
PLANS = {
    "8b-bf16-plan": PlanScenario("8b", "bf16", 24, peers=_RESIDENT_PEERS),
    "8b-bf16-8gib-streamed": PlanScenario("8b", "bf16", 8, modes=_STREAMED, peers=("accelerate",)),
    "8b-bf16-8gib-hybrid": PlanScenario("8b", "bf16", 8),
    "8b-int4-8gib": PlanScenario("8b", "int4", 8),
    "8b-bf16-batch8": PlanScenario("8b", "bf16", 24, batch=8, prompt=128),
    "8b-bf16-batch32": PlanScenario("8b", "bf16", 32, batch=32, prompt=128),
    "8b-bf16-prefill-2k": PlanScenario("8b", "bf16", 24, prompt=2000, tokens=6),
    "13b-bf16-24gib-streamed": PlanScenario("13b", "bf16", 24, modes=_STREAMED, peers=("accelerate",)),
    "13b-bf16-24gib-hybrid": PlanScenario("13b", "bf16", 24),
}
_PEER_SECONDS = 180


def _give_up(reason: str, memory: bool) -> Placement | None:
    """End the scenario: what does not fit is not loaded a second time."""
    raise LlmdistError(f"The engine ended: {reason}.")


def plan_rows(name: str, device: torch.device, limits: dict[str, float], work: Path) -> Iterator[Row]:
    """Yield tokens/s of decoding and prefill of one scenario, beside what was predicted."""
    scenario = PLANS[name]
    folder = work / f"llama-{scenario.shape}"
    write_synthetic(folder, SHAPES[scenario.shape])
    checkpoint, hardware = Checkpoint.open(folder), hardware_profile(Path.home())
    problem = build_problem(
        checkpoint.profile, hardware, vram=scenario.granted * _GIB,
        precision=scenario.precision, context=_CONTEXT, batch=scenario.batch,
    )  # fmt: skip
    problem = replace(problem, modes=scenario.modes)
    plan = solve(problem, stop=MaxSeconds(3.0))
    before, _ = torch.cuda.mem_get_info(device)
    started = time.perf_counter()
    notes: list[str] = []
    load = Load(str(folder), plan.placement, _CONTEXT, scenario.batch, problem.slots, True)
    chain = Chain(load, isolate=True, on_restart=_give_up, on_note=notes.append)
    try:
        load_seconds = time.perf_counter() - started
        prefill, seconds, last = _run(chain, scenario)
        used = before - torch.cuda.mem_get_info(device)[0]
    finally:
        chain.close()
    details = {
        **_described(plan), "load seconds": load_seconds, "used GiB": used / _GIB, "granted GiB": scenario.granted,
        "copied bytes per token": last.bytes_moved, "batch": scenario.batch, "notes": notes,
        "prefill predicted seconds": plan.prediction.ttft_seconds, "milliseconds": _milliseconds(last),
    }  # fmt: skip
    limit = max(
        last.bytes_moved / limits["pinned to device"],
        sum(v for k, v in plan.prediction.peak_bytes.items() if k.startswith("cuda")) / limits["device read"],
    )
    rate = scenario.batch / seconds
    yield Row(name, "llmdist", "decode", rate, "tokens/s", limit / seconds, conditions=details)
    prompt_rate = scenario.batch * scenario.prompt / prefill
    yield Row(name, "llmdist", "prefill", prompt_rate, "tokens/s", conditions=details)
    for peer in scenario.peers:
        yield from _peer_rows(name, peer, folder, scenario, rate, prompt_rate)


def _peer_rows(
    name: str, peer: str, folder: Path, scenario: PlanScenario, decode: float, prefill: float
) -> Iterator[Row]:
    """Yield a peer's decoding and prefill beside ours; a peer that does not run is named with its last line."""
    numbers = (scenario.granted * _GIB, scenario.prompt, scenario.tokens)
    command = [sys.executable, "-m", "llmdist.bench._gpu_peer_child", peer, str(folder), *map(str, numbers)]
    try:
        done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=_PEER_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"{name}: {peer} did not end within {_PEER_SECONDS} s")
        return
    if done.returncode:
        print(f"{name}: {peer} did not run: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
        return
    found = json.loads(done.stdout.splitlines()[-1])
    details = {"peak bytes": found["peak"]}
    rate = 1 / found["seconds"]
    yield Row(name, peer, "decode", rate, "tokens/s", None, decode / rate, details)
    rate = scenario.prompt / found["prefill"]
    yield Row(name, peer, "prefill", rate, "tokens/s", None, prefill / rate, details)


def _run(chain: Chain, scenario: PlanScenario) -> tuple[float, float, Stepped]:
    """Return the seconds of a warm prefill, the median seconds of a decode step, and the last step."""
    prompt = tuple(i % 1000 + 3 for i in range(scenario.prompt))
    prefills, seconds = [], []
    for _ in range(3):
        start = time.perf_counter()
        done = chain.forward((prompt,) * scenario.batch, True, ((),) * scenario.batch)
        prefills.append(time.perf_counter() - start)
    history = list(prompt)
    for _ in range(scenario.tokens):
        assert done.token_ids is not None
        new = tuple((token,) for token in done.token_ids)
        start = time.perf_counter()
        done = chain.forward(new, True, (tuple(history),) * scenario.batch, (len(prompt),) * scenario.batch)
        seconds.append(time.perf_counter() - start)
        history.append(0)
    return statistics.median(prefills[1:]), statistics.median(seconds[3:]), done


def _milliseconds(step: Stepped) -> dict[str, float]:
    """Return what the blocks of the last token took, by kind, the copies, and from the first block to the last."""
    found: dict[str, float] = {}
    for one in step.computes:
        kind = one.block.rsplit(".")[-1]
        found[kind] = found.get(kind, 0.0) + 1000 * (one.end_seconds - one.start_seconds)
    found["copies"] = 1000 * sum(copy.end_seconds - copy.start_seconds for copy in step.copies)
    found["whole"] = 1000 * (step.computes[-1].end_seconds - step.computes[0].start_seconds)
    return found


def _described(plan: PlanResult) -> dict[str, Any]:
    """Return how the plan places blocks, and what it says of them."""
    kinds: dict[str, int] = {}
    for name, choice in plan.placement.items():
        label = f"{choice.label} {name.rsplit('.')[-1]}"
        kinds[label] = kinds.get(label, 0) + 1
    return {
        "placement": kinds, "predicted tokens/s": plan.prediction.tokens_per_second, "gap": plan.gap,
        "predicted peak bytes": dict(plan.prediction.peak_bytes),
    }  # fmt: skip
