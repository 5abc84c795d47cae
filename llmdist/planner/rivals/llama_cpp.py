"""llama.cpp's fit rule: as many layers as fit are on the GPUs, counted from the end; the CPU computes the others.

Every precision is tried for the whole model. Weights that exceed the memory are mapped from the disk.
"""

from __future__ import annotations

import numpy as np

from ..placement import Assignment
from ..tables import Choices, CostTables
from .record import Record

__all__ = ["llama_cpp"]


def llama_cpp(record: Record, seed: int = 0) -> None:
    """Try every precision and number of layers on the GPUs, most first, until one fits."""
    del seed
    for precision in record.tables.problem.precisions:
        for layers in range(record.tables.shape[0], -1, -1):
            choice = _fit(record.tables, precision, layers)
            if choice is not None and record.consider(choice[None])[1][0] == 0:
                break
            if not record.left:
                return


def _fit(tables: CostTables, precision: str, resident: int) -> Choices | None:
    """Return the placement with the last `resident` blocks on the GPUs, in proportion to their memory."""
    problem = tables.problem
    gpus = [device for device in problem.devices if device.kind == "cuda"]
    first_cpu = next(device for device in problem.devices if device.kind == "cpu")
    if resident and not gpus:
        return None
    blocks = tables.shape[0]
    share = np.cumsum([problem.cap(gpu.name) for gpu in gpus]) if gpus else np.ones(1)
    memory = problem.cap(first_cpu.name)
    disk = next((d.name for d in problem.devices if d.kind == "disk" and problem.link(d.name, first_cpu.name)), None)
    choice = np.zeros(blocks, np.int64)
    used = 0.0
    for b in range(blocks):
        position = b - (blocks - resident)
        if position >= 0:
            gpu = gpus[int(np.searchsorted(share, (position + 0.5) / resident * share[-1]))]
            wanted = Assignment(gpu.name, gpu.name, precision)
        else:
            used += problem.blocks[b].weight_bytes(precision) + tables.kv[b]
            spilled = used > 0.95 * memory - problem.workspace_bytes and disk is not None
            wanted = Assignment(first_cpu.name, disk if spilled and disk else first_cpu.name, precision)
        if wanted not in tables.options[b]:
            return None
        choice[b] = tables.options[b].index(wanted)
    return choice
