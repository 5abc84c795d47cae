"""The engines that ``bench cpu`` compares, each behind the same two questions: one decode step, one prefill.

An engine that is not installed raises `EngineMissing` with the reason; nothing is estimated in its place.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any, Protocol

import torch

from ..executor import Executor
from ..model.checkpoint import Checkpoint
from ..model.gguf_file import read_gguf
from ..planner.placement import Assignment, Placement

__all__ = ["Engine", "EngineMissing", "LlamaCpp", "Llmdist", "Transformers", "decoded_bytes"]

CONTEXT = 512


class EngineMissing(Exception):
    """The engine cannot run here; the text says why."""


class Engine(Protocol):
    """Seconds of one decode step and of one prompt; `read_bytes` are the weights that a decode step reads."""

    name: str
    read_bytes: int

    def prefill(self, tokens: list[int]) -> float:
        """Start a text with `tokens` and return the seconds that took."""

    def step(self) -> float:
        """Add one token and return the seconds."""

    def close(self) -> None:
        """Free the weights."""


class Llmdist:
    """The executor with everything resident."""

    def __init__(self, folder: Path, precision: str) -> None:
        self.name = f"llmdist {precision}"
        checkpoint = Checkpoint.open(folder)
        blocks = checkpoint.profile.blocks
        placement = Placement(tuple(b.name for b in blocks), tuple(Assignment("cpu", "cpu", precision) for _ in blocks))
        self.read_bytes = sum(b.weight_bytes(precision) for b in blocks if b.kind != "embed")
        self._executor, self._position = Executor(checkpoint, placement, CONTEXT), 0

    def prefill(self, tokens: list[int]) -> float:
        """Run the prompt from position 0."""
        start = time.perf_counter()
        self._executor.forward(torch.tensor([tokens]), 0)
        self._position = len(tokens)
        return time.perf_counter() - start

    def step(self) -> float:
        """Run one token."""
        start = time.perf_counter()
        self._executor.forward(torch.tensor([[7]]), self._position)
        self._position += 1
        return time.perf_counter() - start

    def close(self) -> None:
        """Free the weights."""
        self._executor.close()


class Transformers:
    """transformers in bf16, eager with SDPA and a dynamic cache, driven directly: no generate() around it."""

    def __init__(self, folder: Path) -> None:
        self.name = "transformers bf16"
        try:
            from transformers import AutoModelForCausalLM
        except ImportError as error:
            raise EngineMissing(str(error)) from error
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
        table = self._model.get_input_embeddings().weight.numel()
        self.read_bytes = 2 * (self._model.num_parameters() - table)
        self._cache: Any = None

    @torch.inference_mode()
    def _run(self, tokens: list[int]) -> float:
        start = time.perf_counter()
        out = self._model(torch.tensor([tokens]), past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._cache = out.past_key_values
        return time.perf_counter() - start

    def prefill(self, tokens: list[int]) -> float:
        """Run the prompt with an empty cache."""
        self._cache = None
        return self._run(tokens)

    def step(self) -> float:
        """Run one token."""
        return self._run([7])

    def close(self) -> None:
        """Free the weights."""
        self._model = self._cache = None
        gc.collect()


def decoded_bytes(file: Path) -> int:
    """Return the bytes of weights that a decode step reads of a GGUF file: of an own embedding it takes one row."""
    entries = read_gguf(file)[1]
    tied = "lm_head.weight" not in entries
    return sum(e.nbytes for name, e in entries.items() if tied or name != "model.embed_tokens.weight")


class LlamaCpp:
    """llama.cpp through llama-cpp-python on a GGUF file; flash attention on, repacking as it chooses."""

    def __init__(self, file: Path, kind: str) -> None:
        self.name = f"llama.cpp {kind}"
        try:
            import llama_cpp
        except (ImportError, OSError, RuntimeError, FileNotFoundError) as error:
            raise EngineMissing(str(error)) from error
        threads = torch.get_num_threads()
        self._llama: Any = llama_cpp.Llama(
            str(file), n_ctx=CONTEXT, n_batch=CONTEXT, n_threads=threads, n_threads_batch=threads, flash_attn=True,
            use_mmap=False, verbose=False,
        )  # fmt: skip
        self.read_bytes = decoded_bytes(file)

    def _run(self, tokens: list[int]) -> float:
        start = time.perf_counter()
        self._llama.eval(tokens)
        return time.perf_counter() - start

    def prefill(self, tokens: list[int]) -> float:
        """Run the prompt with an empty cache."""
        self._llama.reset()
        return self._run(tokens)

    def step(self) -> float:
        """Run one token."""
        return self._run([7])

    def close(self) -> None:
        """Free the weights."""
        self._llama.close()
