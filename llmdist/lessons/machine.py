"""Lesson 3: decoding is a race against bandwidth: a token reads every weight once, so bytes / bandwidth bounds it.

Rates are this machine's own, measured; published points of other machines carry their source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..hardware.profile import Device, HardwareProfile
from ..model.blocks import BYTES_PER_PARAMETER
from .verdict import Verdict, number, shown, within

__all__ = ["PUBLISHED", "PublishedPoint", "attainable_flops", "check_tokens_per_second", "ladder", "limit"]

PARAMETERS_7B = 6.74e9  # Llama 2 7B


@dataclass(frozen=True, slots=True)
class PublishedPoint:
    """A decode speed that somebody measured and published: one sequence, a 7B model."""

    machine: str
    engine: str
    bytes_per_parameter: float
    bandwidth: float  # bytes/s of the card's memory, nominal
    tokens_per_second: float
    source: str

    @property
    def share_of_limit(self) -> float:
        """Return the share of bandwidth / bytes that was reached."""
        return self.tokens_per_second * PARAMETERS_7B * self.bytes_per_parameter / self.bandwidth


_LLAMA_CPP, _MLC, _GPT_FAST = "llama.cpp #4766, 2024", "mlc-ai/llm-perf-bench #1, 2023", "gpt-fast README, 2023"

#: Models of the Llama 7B shape (Code Llama with llama.cpp, else Llama 2), batch 1. The A100s were limited to 330 W.
PUBLISHED = (
    PublishedPoint("RTX 4090", "llama.cpp F16", 2.0, 1008e9, 61.03, _LLAMA_CPP),
    PublishedPoint("RTX 4090", "llama.cpp Q8_0", 1.0625, 1008e9, 98.13, _LLAMA_CPP),
    PublishedPoint("RTX 4090", "MLC 4 bit", 0.5625, 1008e9, 191.0, _MLC),
    PublishedPoint("A100 80 GB", "gpt-fast bf16", 2.0, 2039e9, 104.9, _GPT_FAST),
    PublishedPoint("A100 80 GB", "gpt-fast int8", 1.0, 2039e9, 155.58, _GPT_FAST),
)


def limit(device: Device, parameters: float, precision: str) -> float:
    """Return the tokens/s that no engine can pass on `device`: bandwidth / bytes of the weights."""
    return device.bandwidth / (parameters * BYTES_PER_PARAMETER[precision])


def attainable_flops(device: Device, intensity: float) -> float:
    """Return min(flops, intensity x bandwidth) for `intensity` FLOP per byte: the roofline (Williams et al. 2009)."""
    return min(device.flops, intensity * device.bandwidth)


def ladder(hardware: HardwareProfile) -> tuple[tuple[str, float], ...]:
    """Return (what, bytes/s) of every memory and link of the machine, fastest first."""
    rungs = [(f"{d.name} memory", d.bandwidth) for d in hardware.devices if d.executes]
    rungs += [(f"{link.source} to {link.target}", link.bandwidth) for link in hardware.links]
    return tuple(sorted(rungs, key=lambda rung: -rung[1]))


def check_tokens_per_second(answer: Any, device: Device, parameters: float = 7e9, precision: str = "int4") -> Verdict:
    """Check a predicted upper limit of tokens/s for a model that fits into `device`, within 10 %."""
    truth = limit(device, parameters, precision)
    if number(answer) is None:
        return Verdict(False, f"{shown(answer)} is no number of tokens per second.")
    if within(answer, truth, 0.1):
        return Verdict(True, f"{device.name} reads {parameters / 1e9:g}B weights in {precision} once per token.")
    if within(answer, truth * 8, 0.1) or within(answer, truth / 8, 0.1):
        return Verdict(False, "off by a factor of eight: bits or bytes?")
    if within(answer, device.bandwidth / (parameters * 0.5), 0.02):
        return Verdict(False, "close: that is 4 bits per weight, without its share of a scale.")
    if within(answer, limit(device, parameters, "bf16"), 0.1):
        return Verdict(False, "that is the speed in bf16; a 4 bit weight is smaller.")
    return Verdict(False, "divide the bandwidth by the bytes that one token reads.")
