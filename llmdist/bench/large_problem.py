"""A planning problem that keeps the ants busy: 80 layers, two GPUs, RAM and disk, two precisions."""

from __future__ import annotations

from llmdist.hardware import Device, Link
from llmdist.model.blocks import Block
from llmdist.planner import PlanningProblem, Workload

__all__ = ["large_problem"]

GIB = 2**30


def large_problem(layers: int = 80) -> PlanningProblem:
    """Return a 70B-shaped problem of 2 x `layers` + 2 blocks with 12 to 18 options each."""
    hidden, wide, vocabulary = 8192, 28672, 128256
    attention, mlp = hidden * (hidden * 2 + 2048), 3 * hidden * wide
    blocks = [Block("embed", "embed", hidden * vocabulary, hidden, 0.0)]
    for layer in range(layers):
        name = f"layers.{layer}"
        blocks.append(Block(f"{name}.attention", "attention", attention, attention, 2.0 * attention, 2048, 32768.0))
        blocks.append(Block(f"{name}.mlp", "mlp", mlp, mlp, 2.0 * mlp))
    blocks.append(Block("head", "head", hidden * vocabulary, hidden * vocabulary, 2.0 * hidden * vocabulary))
    devices = (
        Device("cuda:0", "cuda", 24 * GIB, 22 * GIB, 9e11, 1.2e14, 1e-5),
        Device("cuda:1", "cuda", 12 * GIB, 11 * GIB, 3.4e11, 5e13, 1e-5),
        Device("cpu", "cpu", 64 * GIB, 56 * GIB, 5e10, 1e12, 3e-5),
        Device("disk", "disk", 900 * GIB, 500 * GIB),
    )
    links = [Link(source, target, rate, 1e-5) for source, target, rate in (
        ("cpu", "cuda:0", 2.4e10), ("cpu", "cuda:1", 1.2e10), ("cuda:0", "cpu", 2.4e10), ("cuda:1", "cpu", 1.2e10),
        ("disk", "cpu", 3e9), ("disk", "cuda:0", 3e9), ("disk", "cuda:1", 3e9))]  # fmt: skip
    return PlanningProblem(
        tuple(blocks), devices, tuple(links), hidden, Workload(1, 512, 512), precisions=("bf16", "int8")
    )
