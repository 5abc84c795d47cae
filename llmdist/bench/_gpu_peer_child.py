"""A peer of ``bench gpu`` in a process of its own: loads, generates, and says seconds as one JSON line.

    python -m llmdist.bench._gpu_peer_child ENGINE FOLDER GRANTED_BYTES PROMPT TOKENS

A decode step is what one token more costs: the time of a long generation less that of a short one.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from typing import Any

import torch

__all__ = ["ENGINES", "main"]

#: What transformers and the driver take beside the weights that accelerate counts.
_BESIDE_BYTES = 1536 << 20
ENGINES = ("transformers, eager", "transformers, static cache and compile", "accelerate")


def _placed(engine: str, folder: str, granted: int, offload: str) -> Any:
    from transformers import AutoModelForCausalLM

    gpu = torch.cuda.is_available()
    if engine != "accelerate":
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        return model.to("cuda:0" if gpu else "cpu").eval()
    memory: dict[int | str, int] = {0: granted - _BESIDE_BYTES, "cpu": 1 << 40} if gpu else {"cpu": granted}
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, device_map="auto", max_memory=memory, offload_folder=offload
    ).eval()


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _seconds(model: Any, prompt: torch.Tensor, tokens: int, **options: Any) -> float:
    _wait()
    start = time.perf_counter()
    model.generate(prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0, **options)
    _wait()
    return time.perf_counter() - start


def main(engine: str, folder: str, granted: int, prompt_tokens: int, tokens: int) -> dict[str, float]:
    """Return seconds per token and of a prompt, and the peak bytes that torch reserved."""
    with tempfile.TemporaryDirectory() as offload, torch.inference_mode():
        model = _placed(engine, folder, granted, offload)
        options = {"cache_implementation": "static"} if "static" in engine else {}
        prompt = torch.tensor([[i % 1000 + 3 for i in range(prompt_tokens)]], device=model.device)
        rounds = 1 if engine == "accelerate" else 3
        for _ in range(rounds):  # compiling, and the allocator's first requests
            _seconds(model, prompt, tokens, **options)
        short = [_seconds(model, prompt, 1, **options) for _ in range(rounds)]
        long = [_seconds(model, prompt, tokens, **options) for _ in range(rounds)]
        peak = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
    first = statistics.median(short)
    return {"seconds": (statistics.median(long) - first) / (tokens - 1), "prefill": first, "peak": float(peak)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]))))
