"""``python -m llmdist.bench kernels [--full] [--out FILE]``: what the compiled CUDA kernels need, without a GPU.

One table: registers, spills, loads and instructions of the multiplying loop, per kernel and architecture.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..kernels.nvrtc import ARCHITECTURES, Nvrtc
from ..kernels.resources import Resources, find_disassembler, measure_resources, representative_instances
from .rows import conditions

__all__ = ["main", "resource_table"]


def resource_table(rows: Sequence[Resources]) -> str:
    """Return one line per instance, one column per architecture: registers, and instructions per weight."""
    architectures = sorted({row.architecture for row in rows})
    lines = ["| kernel | " + " | ".join(f"sm_{a}" for a in architectures) + " |"]
    lines.append("|---|" + "---:|" * len(architectures))
    names = list(dict.fromkeys(_name(row) for row in rows))
    cells = {(_name(row), row.architecture): _cell(row) for row in rows}
    for name in names:
        lines.append(f"| {name} | " + " | ".join(cells.get((name, a), "-") for a in architectures) + " |")
    return "\n".join(lines)


def _name(row: Resources) -> str:
    return f"{row.instance.kernel} {' '.join(row.instance.arguments[1:])}".strip()


def _cell(row: Resources) -> str:
    text = f"{row.registers}"
    if row.spill_bytes or row.stack_bytes:
        text += f" SPILLS {row.spill_bytes} + {row.stack_bytes}"
    if row.loop is not None:
        text += f" / {row.loop.instructions_per_weight:.2f} / {row.loop.wide_loads}"
    return text


def main(arguments: list[str]) -> int:
    """Compile for every architecture, print the table and write it where asked."""
    parser = argparse.ArgumentParser(prog="python -m llmdist.bench kernels", description=__doc__)
    parser.add_argument("--full", action="store_true", help="every format, head size and tile (minutes)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table to FILE")
    options = parser.parse_args(arguments)
    compiler, tool = Nvrtc(), find_disassembler()
    rows: list[Resources] = []
    for architecture in ARCHITECTURES:
        instances = representative_instances("Fp16" if architecture < 80 else "Bf16", options.full)
        rows += measure_resources(compiler.compile(instances, architecture), instances, architecture, tool)
    most = max(rows, key=lambda row: row.registers)
    head = [
        f"NVRTC {compiler.version}, {conditions()['date']}; fp16 activations on sm_75, bf16 elsewhere.",
        "Cells: registers / instructions per weight and lane / 128-bit loads per turn of the multiplying loop.",
        f"{len(rows)} compilations; spills and stack {sum(r.spill_bytes + r.stack_bytes for r in rows)} bytes; "
        f"most registers {most.registers} ({most.instance.expression}, sm_{most.architecture}).",
    ]
    text = "\n".join([*(f"* {line}" for line in head), "", resource_table(rows), ""])
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
    print(text)
    return 0
