"""One engine of ``bench stream`` in its own process: loads, generates, and says seconds per token as one JSON line.

    python -m llmdist.bench._stream_child ENGINE PATH MEMORY_BYTES TOKENS
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["main"]

PROMPT = list(range(3, 19))


def _llmdist(folder: str, memory: int, tokens: int, batch: int = 1) -> dict[str, Any]:
    from ..hardware import hardware_profile
    from ..model.checkpoint import Checkpoint
    from ..planner import MaxSeconds, solve
    from ..planner.build import build_problem
    from ..stage.chain import Chain
    from ..stage.messages import Load

    checkpoint = Checkpoint.open(Path(folder))
    problem = build_problem(checkpoint.profile, hardware_profile(folder), ram=memory, context=256, batch=batch)
    plan = solve(problem, stop=MaxSeconds(2.0))
    chain = Chain(Load(folder, plan.placement, problem.workload.context, batch, problem.slots, True), isolate=True)
    try:
        done = chain.forward((tuple(PROMPT),) * batch, True, ((),) * batch)
        history, moved, seconds = list(PROMPT), 0, []
        for _ in range(tokens):
            assert done.token_ids is not None
            new = tuple((token,) for token in done.token_ids)
            start = time.perf_counter()
            done = chain.forward(new, True, (tuple(history),) * batch, (len(PROMPT),) * batch)
            seconds.append((time.perf_counter() - start) / batch)
            history.append(0)
            moved = done.bytes_moved // batch
    finally:
        chain.close()
    return {"seconds": seconds, "moved": moved, "predicted": plan.prediction.tpot_seconds}


def _accelerate(folder: str, memory: int, tokens: int) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as offload:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, device_map="auto", max_memory={"cpu": memory}, offload_folder=offload
        )
        cache: Any = None
        seconds: list[float] = []
        with torch.inference_mode():
            for i in range(tokens + 1):
                given = torch.tensor([PROMPT if i == 0 else [7]])
                start = time.perf_counter()
                cache = model(given, past_key_values=cache, use_cache=True).past_key_values
                seconds.append(time.perf_counter() - start)
    return {"seconds": seconds[1:]}


def _llama_cpp(file: str, memory: int, tokens: int) -> dict[str, Any]:
    import llama_cpp
    import torch

    threads = torch.get_num_threads()
    llama = llama_cpp.Llama(
        file, n_ctx=256, n_batch=256, n_threads=threads, n_threads_batch=threads, flash_attn=True, use_mmap=True,
        verbose=False,
    )  # fmt: skip
    llama.eval(PROMPT)
    seconds = []
    for _ in range(tokens):
        start = time.perf_counter()
        llama.eval([7])
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds}


ENGINES: dict[str, Callable[[str, int, int], dict[str, Any]]] = {
    "llmdist": _llmdist,
    "llmdist, 8 prompts together": partial(_llmdist, batch=8),
    "accelerate": _accelerate,
    "llama.cpp": _llama_cpp,
}


def main(engine: str, path: str, memory: int, tokens: int) -> None:
    """Run one engine and print what it took."""
    print(json.dumps(ENGINES[engine](path, memory, tokens)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
