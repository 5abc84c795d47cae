"""``python -m llmdist.bench gpu --out DIR [--scenario NAME]``: probes, kernels against float64, decoding under a cap.

Every kernel is first compared with float64 and only then timed, as a share of a device copy measured in the same run. A
ballast takes the memory of the card that a scenario does not grant.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..errors import LlmdistError
from ..kernels.cuda_module import CudaModule, require_cuda
from ..kernels.device_rates import activation_dtype, median_seconds, recorded_seconds
from ..kernels.fused import FusedAttention, FusedDecoder, FusedHead, FusedMlp, instances_of
from ..kernels.instances import Instance
from ..kernels.launch import Attention
from ..model.config import ModelConfig
from ._gpu_kernels import KERNELS, Case, attention_case, case_instances, projection_case
from ._gpu_plans import PLANS, plan_rows
from .rows import Row, table, write_json

__all__ = ["SCENARIOS", "main", "scenario_config"]

_GIB = 1 << 30
#: Scenario -> weight format, granted GiB: an 8B of Llama 3's shape with random weights, everything resident.
RESIDENT = {"8b-bf16": ("dense", 24), "8b-int8": ("int8", 24), "8b-int4": ("int4g128", 24)}
SCENARIOS = ("probes", "kernels", *RESIDENT, *PLANS)
#: Largest error over the largest value: four roundings to bf16, which the gated product has.
_WORST_ERROR = 2**-6
_LAUNCHES = 16
_ROTATED_BYTES = 512 << 20  # more than any L2


def probes(device: torch.device) -> dict[str, float]:
    """Return bytes/s of a device copy (read and write counted), and of pinned and pageable copies to the device."""
    source = [torch.empty(_GIB // 4, dtype=torch.uint8, device=device) for _ in range(4)]
    target = torch.empty_like(source[0])
    host = torch.empty(_GIB // 4, dtype=torch.uint8)
    pinned = host.pin_memory()
    size = target.nbytes
    return {
        "device read": size / median_seconds(lambda i: source[i].view(torch.int64).sum(), 4, 30),
        "device copy": 2 * size / median_seconds(lambda i: target.copy_(source[i]), 4, 30),
        "pinned to device": size / median_seconds(lambda _: target.copy_(pinned, non_blocking=True), 1, 30),
        "pageable to device": size / median_seconds(lambda _: target.copy_(host), 1, 5),
    }


def _launch_seconds(device: torch.device, case: Case) -> float:
    """Return the seconds of one launch among others behind each other, as decoding queues them."""
    count = -(-_LAUNCHES // case.sets) * case.sets

    def queue() -> None:
        for i in range(count):
            case.run(i % case.sets)

    return recorded_seconds(device, queue, 10) / count


@dataclass(frozen=True, slots=True)
class _Planned:
    """A case to come: the instances it launches, and how it is made once they are compiled."""

    instances: Sequence[Instance]
    make: Callable[[CudaModule], Case]


def _cases(device: torch.device) -> list[_Planned]:
    dtype = activation_dtype(device)
    sizes = {"norm_qkv": (6144, 4096), "norm_gateup_swiglu": (14336, 4096), "residual_gemv": (4096, 14336)}
    found = []
    for weight_format in ("dense", "int8", "int4g128", "int4g64", "int4g32"):
        for kernel in KERNELS:
            rows, columns = sizes.get(kernel, (128256, 4096))
            for vectors in (1, 8, 32) if kernel != "lm_head" else (1,):
                sets = max(2, _ROTATED_BYTES // (rows * columns))
                what = (kernel, weight_format, dtype, vectors, rows, columns, device, sets)
                instances = case_instances(kernel, weight_format, dtype, vectors, columns)
                found.append(_Planned(instances, partial(_projection, what)))
    cores = torch.cuda.get_device_properties(device).multi_processor_count
    for context in (2048, 32768, 131072):
        shape = Attention(32, 8, 128, context, Attention.choose_splits(1, 8, context, cores))
        kind = "Bf16" if dtype == torch.bfloat16 else "Fp16"
        parts = [Instance("flash_decode", (kind, "128", str(shape.query_tile))), Instance("combine", (kind, "128"))]
        found.append(_Planned(parts, partial(_attention, (shape, dtype, context, device, 4))))
    return found


def _projection(what: tuple[Any, ...], module: CudaModule) -> Case:
    return projection_case(module, *what)


def _attention(what: tuple[Any, ...], module: CudaModule) -> Case:
    return attention_case(module, *what)


def kernel_rows(device: torch.device, copy_rate: float) -> Iterator[Row]:
    """Yield the error of every kernel, and the rate of the right ones: a wrong one is said and not timed."""
    planned = _cases(device)
    module = CudaModule(sorted({i for case in planned for i in case.instances}), str(device))
    for plan in planned:
        case = plan.make(module)
        error = case.error()
        details = {"error": error, "bytes": case.nbytes, "sets": case.sets}
        if not error < _WORST_ERROR:
            print(f"WRONG: {case.name} differs from float64 by {error:.3g} of the largest value: not timed.")
            yield Row("kernels", case.name, "wrong", error, "of the largest value", conditions=details)
            continue
        rate = case.nbytes / _launch_seconds(device, case)
        yield Row("kernels", case.name, "read", rate / 1e9, "GB/s", rate / copy_rate, conditions=details)


def scenario_config(num_layers: int = 32) -> ModelConfig:
    """Return the shape of Llama 3 8B."""
    return ModelConfig.from_hf({
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": num_layers,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "rope_theta": 500000.0,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16", "eos_token_id": 0,
    })  # fmt: skip


def random_decoder(
    config: ModelConfig, weight_format: str, module: Any, shape: Attention, dtype: torch.dtype, device: torch.device
) -> FusedDecoder:
    """Return a decoder of random weights, packed block by block on the device."""
    hidden, inner, rows = config.hidden_size, config.intermediate_size, config.num_heads * config.head_dim

    def matrix(outputs: int, inputs: int) -> torch.Tensor:
        weights = torch.randn(outputs, inputs, device=device, dtype=dtype)
        return weights.mul_(inputs**-0.5)

    ones, kv = torch.ones(hidden, dtype=dtype, device=device), config.num_kv_heads * config.head_dim
    blocks = []
    for _ in range(config.num_layers):
        attention = {"input_norm": ones, "q": matrix(rows, hidden), "k": matrix(kv, hidden), "v": matrix(kv, hidden)}
        mlp = {"post_norm": ones, "gate": matrix(inner, hidden), "up": matrix(inner, hidden)}
        packed = FusedAttention.of({**attention, "o": matrix(hidden, rows)}, weight_format, dtype)
        blocks.append((packed, FusedMlp.of({**mlp, "down": matrix(hidden, inner)}, weight_format, dtype)))
    head = FusedHead.of({"norm": ones, "lm_head": matrix(config.vocab_size, hidden)}, dtype)
    size = (1, config.num_kv_heads, shape.capacity, config.head_dim)
    cache = [
        (torch.zeros(size, dtype=dtype, device=device), torch.zeros(size, dtype=dtype, device=device)) for _ in blocks
    ]
    return FusedDecoder(config, module, shape, blocks, head, matrix(config.vocab_size, hidden), cache)


def resident_rows(name: str, device: torch.device, copy_rate: float) -> Iterator[Row]:
    """Yield tokens/s of one CUDA graph per step, as a share of weights and cache over the device copy."""
    weight_format, granted = RESIDENT[name]
    dtype = activation_dtype(device)
    ballast = _ballast(device, granted * _GIB)
    config, properties = scenario_config(), torch.cuda.get_device_properties(device)
    shape = Attention(32, 8, 128, 2048, Attention.choose_splits(1, 8, 2048, properties.multi_processor_count))
    module = CudaModule(instances_of(config, dtype, weight_format, shape, 1), str(device))
    decoder = random_decoder(config, weight_format, module, shape, dtype, device)
    decoder.positions.fill_(1023)
    seconds = recorded_seconds(device, decoder.queue, 50)
    module.overlaps, overlapped = False, module.overlaps
    apart = recorded_seconds(device, decoder.queue, 50)
    module.overlaps = overlapped
    packed = [m for a, m2 in decoder.layers for m in (a.qkv, a.o, m2.gate_up, m2.down)]
    cached = len(decoder.cache) * 2 * 1024 * config.num_kv_heads * config.head_dim * dtype.itemsize
    nbytes = sum(m.nbytes for m in [*packed, decoder.head.matrix]) + cached
    free, total = torch.cuda.mem_get_info(device)
    details = {"bytes per token": nbytes, "granted GiB": granted, "used GiB": (total - free - ballast.nbytes) / _GIB}
    yield Row(name, "llmdist", "decode", 1 / seconds, "tokens/s", nbytes / copy_rate / seconds, conditions=details)
    if overlapped:
        one = "llmdist, kernels one after the other"
        share = nbytes / copy_rate / apart
        yield Row(name, one, "decode", 1 / apart, "tokens/s", share, apart / seconds, conditions=details)


def _ballast(device: torch.device, granted: int) -> torch.Tensor:
    """Take all free memory of the card but `granted` bytes."""
    free, _ = torch.cuda.mem_get_info(device)
    if free < granted:
        raise LlmdistError(f"The scenario needs {granted / _GIB:.0f} GiB and {device} has {free / _GIB:.1f} GiB free.")
    return torch.empty(free - granted, dtype=torch.uint8, device=device)


def main(arguments: list[str]) -> int:
    """Run the chosen scenarios on ``cuda:0`` and write ``gpu.json`` and ``gpu.md``."""
    parser = argparse.ArgumentParser(prog="python -m llmdist.bench gpu", description=__doc__)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="default: all")
    parser.add_argument("--work", type=Path, help="folder for the models; a temporary one by default")
    options = parser.parse_args(arguments)
    require_cuda("cuda:0")
    device, chosen = torch.device("cuda:0"), options.scenario or SCENARIOS
    options.out.mkdir(parents=True, exist_ok=True)
    limits, rows = probes(device), list[Row]()
    with tempfile.TemporaryDirectory(prefix="llmdist-bench-") as temporary:
        for name in chosen:
            try:
                for row in _rows_of(name, device, limits, options.work or Path(temporary)):
                    rows.append(replace(row, conditions={**row.conditions, **_gpu(device)}))
                    _written(options.out, limits, rows)  # what was measured stays if the rest is cut off
            except Exception as error:  # whatever one scenario ends with, the next one runs
                print(f"{name} failed: {type(error).__name__}: {str(error)[-2000:]}")
            with suppress(RuntimeError):
                torch.cuda.empty_cache()
    print(_written(options.out, limits, rows))
    return 0


def _rows_of(name: str, device: torch.device, limits: dict[str, float], work: Path) -> Iterator[Row]:
    if name == "kernels":
        yield from kernel_rows(device, limits["device copy"])
    if name in RESIDENT:
        yield from resident_rows(name, device, limits["device copy"])
    if name in PLANS:
        ballast = _ballast(device, PLANS[name].granted * _GIB)
        yield from plan_rows(name, device, limits, work)
        del ballast


def _gpu(device: torch.device) -> dict[str, str]:
    return {"gpu": torch.cuda.get_device_name(device), "cuda": str(torch.version.cuda)}


def _written(folder: Path, limits: dict[str, float], rows: Sequence[Row]) -> str:
    """Write ``gpu.json`` and ``gpu.md``; return the text."""
    write_json(folder / "gpu.json", limits, rows)
    text = "\n".join([*(f"* {name}: {rate / 1e9:.1f} GB/s" for name, rate in limits.items()), "", table(rows), ""])
    (folder / "gpu.md").write_text(text, encoding="utf-8")
    return text
