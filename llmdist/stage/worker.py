"""The worker of a stage: owns weights, KV cache and executor, and answers messages.

It runs in a child process, inline, or behind an actor; it never knows which. Failures become replies.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from ..errors import LlmdistError, ModelError
from ..executor import Executor, executor_for
from ..model.checkpoint import Checkpoint
from ..model.probe_blocks import LONGEST_PROBE, tiny_blocks
from .messages import Applied, Apply, Failed, Forward, Load, Loaded, Message, Reply, Stepped, Working

__all__ = ["Worker"]


_PROCESS = psutil.Process()
_SAMPLE_SECONDS = 0.05  # as often as a picture can show


def _resident_bytes() -> int:
    return int(_PROCESS.memory_info().rss)


def _peak_resident_bytes() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return _resident_bytes()


def _forget_peak() -> None:
    """Start the system's count of the peak anew (Linux): kernels were timed before, which is no memory of the model."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


class Worker:
    """Answers one message after the other; `handle` never raises. `heard` is told of a load while it goes on."""

    def __init__(self, heard: Callable[[Working], None] | None = None) -> None:
        self._heard = heard
        self._executor: Executor | None = None
        for dtype in (torch.bfloat16, torch.float32):  # the libraries' own pools belong to the base
            for tokens in (LONGEST_PROBE, 32, 1):
                tiny_blocks(dtype=dtype)(tokens)
        _forget_peak()
        self._base = _resident_bytes()
        self._used, self._peak = dict[str, int](), dict[str, int]()
        self._next_sample = 0.0

    def handle(self, message: Message) -> Reply:
        """Return the reply to `message`."""
        try:
            if isinstance(message, Load):
                return self._load(message)
            if isinstance(message, Apply):
                return self._apply(message)
            return self._forward(message)
        except LlmdistError as error:
            return Failed("user", str(error))
        except MemoryError:
            return Failed("memory", "the engine could not allocate memory")
        except RuntimeError as error:
            text = str(error)
            if any(words in text.lower() for words in ("allocate memory", "out of memory", "alloc_failed")):
                return Failed("memory", text.splitlines()[0])
            return Failed("bug", traceback.format_exc())
        except Exception:
            return Failed("bug", traceback.format_exc())

    def _load(self, message: Load) -> Loaded:
        self.close()
        checkpoint = Checkpoint.open(Path(message.folder))
        self._executor = executor_for(checkpoint)(
            checkpoint, message.placement, message.context, message.batch, message.slots, message.streaming, message.kv,
            report=self._tell,
        )  # fmt: skip
        self._next_sample = 0.0
        return Loaded(self.memory(), self._executor.note)

    def _tell(self, done: int, total: int, made: str, kept: bool) -> None:
        if self._heard is not None:
            self._heard(Working(done, total, made, kept))

    def _apply(self, message: Apply) -> Applied:
        assert self._executor is not None, "Apply before Load"
        self._executor.apply(message.placement)
        self._next_sample = 0.0
        return Applied(self.memory(), self._executor.note)

    def _forward(self, message: Forward) -> Stepped:
        assert self._executor is not None, "Forward before Load"
        done = self._executor.run(message.tokens, message.starts, message.keep)
        greedy = message.greedy  # then the choice is made where the logits are
        best, token_ids = done.logits.max(-1)
        if not best.isfinite().all():
            raise ModelError(
                "The model's answer is not a number: weights that are NaN or infinite, or numbers beyond what its "
                "precision holds; check the checkpoint, or load one in another precision."
            )
        return Stepped(
            token_ids=tuple(token_ids.tolist()) if greedy else None,
            logits=None if greedy else done.logits.float().cpu().numpy().tobytes(),
            rows=done.logits.shape[0],
            bytes_moved=done.bytes_moved,
            memory_bytes=self._sampled(),
            peak_bytes=dict(self._peak),
            copies=done.copies,
            computes=done.computes,
        )

    def memory(self) -> dict[str, int]:
        """Return the bytes used now per device; ``cpu`` counts above the empty process."""
        used = {"cpu": max(0, _resident_bytes() - self._base)}
        for i in range(torch.cuda.device_count()):
            used[f"cuda:{i}"] = torch.cuda.memory_reserved(i)
        return used

    def _sampled(self) -> dict[str, int]:
        """Return the bytes used a moment ago, and take the peaks: asking costs what a small model's token does."""
        now = time.monotonic()
        if now >= self._next_sample:
            self._used, self._next_sample = self.memory(), now + _SAMPLE_SECONDS
            highest = {"cpu": max(0, _peak_resident_bytes() - self._base) if sys.platform == "linux" else 0}
            for i in range(torch.cuda.device_count()):
                highest[f"cuda:{i}"] = torch.cuda.max_memory_reserved(i)
            for name, used in self._used.items():
                self._peak[name] = max(self._peak.get(name, 0), used, highest.get(name, 0))
        return dict(self._used)

    def close(self) -> None:
        """Free the weights."""
        if self._executor is not None:
            self._executor.close()
            self._executor = None
