"""What compiled kernels need, read without a GPU: registers and spills from the assembler, loops from the disassembly.

The loop that counts is the one that multiplies. A tensor-core instruction of 16 x 16 weights is 8 weights per lane, so
its instructions per weight follow from counting; `nvdisasm` comes from a wheel (nvidia-cuda-nvdisasm) or the toolkit.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .instances import Instance
from .nvrtc import Compiled

__all__ = [
    "Loop", "Resources", "early_loads", "find_disassembler", "loops", "measure_resources", "representative_instances",
]  # fmt: skip

_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_SPILL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SECTION = re.compile(r"^\s*\.section\s+\.text\.([^,\s]+)")
_LABEL = re.compile(r"^(\.L_x_\d+):")
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(.*?);")
_BRANCH = re.compile(r"\bBRA(?:\.\S+)?\s+.*`\((\.L_x_\d+)\)")


@dataclass(frozen=True, slots=True)
class Loop:
    """The multiplying loop: instructions, 128-bit loads, and the weights of one lane in one turn."""

    instructions: int
    wide_loads: int
    weights: int

    @property
    def instructions_per_weight(self) -> float:
        """Return what one lane issues per weight."""
        return self.instructions / self.weights


@dataclass(frozen=True, slots=True)
class Resources:
    """One instance on one architecture; `loop` is None where nothing multiplies or no disassembler is there."""

    instance: Instance
    architecture: int
    registers: int
    spill_bytes: int
    stack_bytes: int
    loop: Loop | None


def representative_instances(kind: str, full: bool) -> list[Instance]:
    """Return what one model needs in `kind` (``Bf16`` or ``Fp16``); `full` adds every format, size and tile."""
    found = [Instance("rope_append", (kind, "128")), Instance("begin_step", (kind,))]
    formats = ("Dense", "Int8", "Int4<128>", "Int4<64>", "Int4<32>") if full else ("Dense", "Int8", "Int4<128>")
    for form in formats:
        found += [Instance("norm_gateup_swiglu", (kind, form, "1", "true"))]
        if full or form == "Int4<128>":
            found += [Instance("residual_gemv", (kind, form, "1", "true"))]
        if full:
            found += [Instance(kernel, (kind, form, "1", "true")) for kernel in ("norm_qkv", "lm_head")]
            found += [Instance("residual_gemv", (kind, form, tiles, "false")) for tiles in ("1", "4")]
            found += [Instance("norm_gateup_swiglu", (kind, form, "4", "false"))]
            found += [Instance("dequantise", (kind, form))]
    for size in ("64", "80", "96", "128", "256") if full else ("128",):
        found += [Instance("combine", (kind, size))]
        found += [Instance("flash_decode", (kind, size, tile)) for tile in (("1", "4") if full else ("4",))]
    return found


def find_disassembler() -> str | None:
    """Return the path of nvdisasm, or None."""
    found = importlib.util.find_spec("nvidia")
    for root in (found.submodule_search_locations or []) if found else []:
        for path in sorted(Path(root).glob("cu*/bin/nvdisasm*")):
            return str(path)
    return shutil.which("nvdisasm")


def _assembled(compiled: Compiled) -> dict[str, tuple[int, int, int]]:
    """Return (registers, spilled bytes, stack bytes) by mangled name, from the assembler's log."""
    found: dict[str, tuple[int, int, int]] = {}
    name, spill, stack = "", 0, 0
    for line in compiled.log.splitlines():
        if match := _ENTRY.search(line):
            name = match[1]
        elif match := _SPILL.search(line):
            stack, spill = int(match[1]), int(match[2]) + int(match[3])
        elif match := _REGISTERS.search(line):
            found[name] = int(match[1]), spill, stack
    return found


def loops(listing: str) -> dict[str, Loop]:
    """Return the largest loop with tensor-core instructions of every function in a disassembly, by mangled name."""
    found: dict[str, Loop] = {}
    name = ""
    code: list[str] = []
    labels: dict[str, int] = {}
    for line in listing.splitlines():
        if match := _SECTION.match(line):
            name, code, labels = match[1], [], {}
        elif match := _LABEL.match(line):
            labels[match[1]] = len(code)
        elif match := _INSTRUCTION.match(line):
            code.append(match[1])
            target = _BRANCH.search(match[1])
            if target and target[1] in labels:
                loop = _loop(code[labels[target[1]] :])
                if loop.weights > (found[name].weights if name in found else 0):
                    found[name] = loop
    return found


def early_loads(compiled: Compiled, disassembler: str) -> dict[str, int]:
    """Return how many global loads every kernel has ahead of its wait for the kernel before it, by mangled name.

    Kernels without such a wait are left out: before sm_90 there is none.
    """
    found: dict[str, int] = {}
    name, loads = "", 0
    for line in _disassemble(compiled.cubin, disassembler).splitlines():
        if match := _SECTION.match(line):
            name, loads = match[1], 0
        elif match := _INSTRUCTION.match(line):
            if "ACQBULK" in match[1]:
                found.setdefault(name, loads)
            loads += "LDG" in match[1]
    return found


def _loop(code: Sequence[str]) -> Loop:
    weights = sum(4 if "HMMA.1688" in text else 8 for text in code if "HMMA." in text)
    wide = sum("LDG" in text and ".128" in text for text in code)
    return Loop(sum("NOP" not in text for text in code), wide, weights)


def _disassemble(cubin: bytes, tool: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.cubin"
        path.write_bytes(cubin)
        done = subprocess.run([tool, "-c", str(path)], capture_output=True, text=True, check=True)
    return done.stdout


def measure_resources(
    compiled: Compiled, instances: Sequence[Instance], architecture: int, disassembler: str | None
) -> list[Resources]:
    """Return what each of `instances` needs."""
    assembled = _assembled(compiled)
    found: Mapping[str, Loop] = loops(_disassemble(compiled.cubin, disassembler)) if disassembler else {}
    rows = []
    for instance in instances:
        name = compiled.names[instance.expression]
        registers, spill, stack = assembled[name]
        rows.append(Resources(instance, architecture, registers, spill, stack, found.get(name)))
    return rows
