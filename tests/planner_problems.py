"""Small random planning problems, one to two exec devices and a disk."""

from __future__ import annotations

from random import Random

from llmdist.hardware import Device, Link
from llmdist.model.blocks import Block
from llmdist.planner import PlanningProblem, Workload

__all__ = ["random_problem"]


def random_problem(seed: int, blocks: int = 7) -> PlanningProblem:
    """Return a problem whose caps hold a random share of the weights."""
    rng = Random(seed)
    chain = []
    for i in range(blocks):
        parameters = rng.randrange(1, 40) * 1_000_000
        attention = i % 2 == 0
        chain.append(
            Block(f"layers.{i // 2}.{'attention' if attention else 'mlp'}", "attention" if attention else "mlp",
                  parameters, parameters, 2.0 * parameters, 2048 * attention, 4096.0 * attention)
        )  # fmt: skip
    total = sum(block.weight_bytes("bf16") for block in chain)
    gpu = rng.random() < 0.5
    devices = [Device("cpu", "cpu", total * 4, total * 4, rng.uniform(10e9, 60e9), 1e12, 2e-5)]
    devices.append(Device("disk", "disk", total * 9, total * 9))
    links = [Link("disk", "cpu", rng.uniform(0.5e9, 5e9), 1e-4)]
    if gpu:
        devices.append(Device("cuda:0", "cuda", total, total, rng.uniform(300e9, 1e12), 5e13, 1e-5))
        links += [Link("cpu", "cuda:0", 2e10, 1e-5), Link("cuda:0", "cpu", 2e10, 1e-5)]
        links.append(Link("disk", "cuda:0", 1e9, 1e-4))
    caps = {"cpu": int(total * rng.uniform(0.6, 1.6)), "cuda:0": int(total * rng.uniform(0.3, 1.1))}
    return PlanningProblem(
        tuple(chain), tuple(devices), tuple(links), 4096, Workload(1, 64, 64),
        caps={name: cap for name, cap in caps.items() if name == "cpu" or gpu},
        objective=rng.choice(["latency", "finish"]),
    )  # fmt: skip
