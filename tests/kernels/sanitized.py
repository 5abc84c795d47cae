"""Run in a process of its own under the address and undefined-behaviour sanitizers: a few kernels, then ``clean``.

``python sanitized.py FOLDER [FILE OLD NEW]`` plants a defect first. The sanitizer ends the process where it finds one.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from cases import TOLERANCE, attention_error, excess, matrix, poisoned, projection_errors
from shim import SANITIZERS, HostModule, build

from llmdist.kernels.instances import Instance
from llmdist.kernels.launch import Attention, dequantise


def instances() -> list[Instance]:
    """Return one instance of each kernel that addresses memory by itself."""
    kernels = ("norm_qkv", "norm_gateup_swiglu", "lm_head", "residual_gemv")
    found = [Instance(kernel, ("Bf16", "Int4<64>", "1", "true")) for kernel in kernels]
    found += [Instance("dequantise", ("Bf16", "Int4<64>"))]
    return [*found, Instance("flash_decode", ("Bf16", "80", "2")), Instance("combine", ("Bf16", "80"))]


def main(folder: Path, *defect: str) -> None:
    """Build with sanitizers and run every case."""
    replaced = {defect[0]: (defect[1], defect[2])} if defect else {}
    attention = [i for i in instances() if i.file == "flash_decode.cu"]
    module = HostModule(build(attention if defect else instances(), folder, SANITIZERS, replaced))
    assert attention_error(module, "bf16", Attention(4, 2, 80, 140, 3), [139]) < TOLERANCE["bf16"]
    found = projection_errors(module, "bf16", "int4g64", 1, 37, 264)
    assert not excess(found, "bf16"), found
    packed, weight = matrix(7, 200, "int4g64", torch.bfloat16)
    out = poisoned(7, 200, dtype=torch.bfloat16)
    dequantise(module, packed, out)
    assert torch.equal(out, weight.bfloat16())
    print("clean")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
