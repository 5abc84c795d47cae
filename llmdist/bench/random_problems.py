"""Small random planning problems, for tests and for comparing the colony with the exact optimum."""

from __future__ import annotations

from random import Random

from llmdist.hardware import Device, Link
from llmdist.model.blocks import Block
from llmdist.planner import PlanningProblem, Workload

__all__ = ["random_problem", "rich_problem"]


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


def rich_problem(seed: int, layers: int = 3) -> PlanningProblem:
    """Return a problem with everything: machines, unequal GPUs, experts, splits, precisions, pinned memory, buses."""
    rng = Random(seed)
    chain = _rich_blocks(rng, layers)
    total = sum(block.weight_bytes("bf16") for block in chain)
    devices: list[Device] = []
    links: list[Link] = []
    machines = [""] if rng.random() < 0.6 else ["m0/", "m1/"]
    for machine in machines:
        bus = rng.choice([0.0, rng.uniform(3e10, 8e10)])
        devices.append(Device(f"{machine}cpu", "cpu", total, total, rng.uniform(1e10, 6e10), 1e12, 2e-5,
                              pinned_bytes=int(rng.choice([0, total * 0.4])), bus_bandwidth=bus,
                              pass_seconds=seed % 3 * 4e-4, handover_seconds=seed % 2 * 3e-4,
                              handover_seconds_per_byte=seed % 2 * 1e-10))  # fmt: skip
        for gpu in range(rng.choice([1, 1, 2])):
            name = f"{machine}cuda:{gpu}"
            rate = rng.uniform(1e11, 1e12)
            devices.append(Device(name, "cuda", total, total, rate, 5e13, 1e-5))
            links.append(Link(f"{machine}cpu", name, rng.uniform(5e9, 3e10), 1e-5))
            links.append(Link(name, f"{machine}cpu", 2e10, 1e-5))
            links.append(Link(f"{machine}disk", name, 1e9, 1e-4))
        devices.append(Device(f"{machine}disk", "disk", total * 9, total * 9))
        links.append(Link(f"{machine}disk", f"{machine}cpu", rng.uniform(0.5e9, 5e9), 1e-4))
    if len(machines) == 2:
        links += [Link("m0/cpu", "m1/cpu", 1.25e8, 1e-4), Link("m1/cpu", "m0/cpu", 1.25e8, 1e-4)]
    caps = {d.name: int(total * rng.uniform(0.2, 0.9)) for d in devices if d.kind == "cuda"}
    caps |= {d.name: int(total * rng.uniform(0.4, 1.4)) for d in devices if d.kind == "cpu"}
    load = Workload(rng.choice([1, 3]), 64, 64, tokens_per_pass=rng.choice([1, 4]),
                    accepted_share=rng.choice([0.6, 1.0]), in_flight=rng.choice([1, 3]))  # fmt: skip
    return PlanningProblem(
        tuple(chain), tuple(devices), tuple(links), 4096, load, caps=caps, slots=rng.choice([1, 2, 3]),
        precisions=rng.choice([("bf16",), ("bf16", "int8", "int4")]), workspace_bytes=1_000_000,
        modes=("resident", "streamed", "demand", "split"), split_eighths=(2, 5),
        quality_budget=rng.choice([None, 0.3]), objective=rng.choice(["latency", "finish", "throughput"]),
    )  # fmt: skip


def _rich_blocks(rng: Random, layers: int) -> list[Block]:
    chain = [Block("embed", "embed", 20_000_000, 4096, 0.0)]
    for layer in range(layers):
        size = rng.randrange(5, 30) * 1_000_000
        chain.append(Block(f"layers.{layer}.attention", "attention", size, size, 2.0 * size, 2048, 4096.0))
        if rng.random() < 0.5:
            chain.append(Block(f"layers.{layer}.mlp", "mlp", 3 * size, 3 * size, 6.0 * size))
            continue
        chain.append(Block(f"layers.{layer}.router", "router", 32_768, 32_768, 65_536.0))
        for group in range(2):
            chain.append(Block(f"layers.{layer}.experts.{group}", "experts", 2 * size, size // 2, 1.0 * size,
                               experts=4, routed_share=0.25))  # fmt: skip
    chain.append(Block("head", "head", 20_000_000, 20_000_000, 4e7))
    return chain
