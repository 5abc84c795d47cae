"""What the fused kernels reach on a CUDA device: the price of a block, and bytes per second at each weight format.

Both are timed as decoding runs them: many launches recorded as one, replayed behind each other.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch

from ..model.config import ModelConfig
from . import launch
from .cuda.packing import PackedMatrix, matrix_at, matrix_bytes
from .cuda_module import CudaModule, recorded
from .fused import FusedAttention, FusedDecoder, FusedHead, FusedMlp, instances_of
from .instances import ACTIVATIONS, FORMATS, Instance
from .launch import Attention

__all__ = ["activation_dtype", "block_seconds", "median_seconds", "read_rates", "recorded_seconds"]

_LAYERS, _REPEATS, _COLUMNS = 8, 20, 4096
_RATE_BYTES = 256 << 20  # of one matrix: more than any cache, and two take turns


def activation_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16, or float16 where the device has no bfloat16."""
    return torch.float16 if torch.cuda.get_device_capability(device) < (8, 0) else torch.bfloat16


def median_seconds(run: Callable[[int], object], sets: int = 1, repeats: int = _REPEATS) -> float:
    """Return the median seconds that the device takes for `run(i)`, over `sets` in turn, after a warm-up."""
    for i in range(3):
        run(i % sets)
    times = []
    for i in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run(i % sets)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return float(statistics.median(times))


def recorded_seconds(device: torch.device, queue: Callable[[], None], repeats: int = _REPEATS) -> float:
    """Return the median seconds of what `queue` launches, recorded as one; it runs once before and is then set up."""
    with torch.cuda.device(device):  # events are recorded on the current device's stream
        queue()
        torch.cuda.synchronize(device)
        replay = recorded(str(device), queue)
        return median_seconds(lambda _: replay(), 1, repeats)


def block_seconds(device: torch.device) -> float:
    """Return the seconds of a block whose weights are too small to matter: attention and MLP, on the average."""
    dtype = activation_dtype(device)
    config = ModelConfig.from_hf(
        {"model_type": "llama", "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 512,
         "num_hidden_layers": _LAYERS, "vocab_size": 256, "max_position_embeddings": 512, "eos_token_id": 0}
    )  # fmt: skip
    cores = torch.cuda.get_device_properties(device).multi_processor_count
    shape = Attention(4, 4, 64, 512, Attention.choose_splits(1, 4, 512, cores))
    module = CudaModule(instances_of(config, dtype, "dense", shape, 1), str(device))

    def zeros(*size: int) -> torch.Tensor:
        return torch.zeros(size, dtype=dtype, device=device)

    square = {part: zeros(256, 256) for part in "qkvo"}
    attention = FusedAttention.of({"input_norm": zeros(256), **square}, "dense", dtype)
    gated = {"post_norm": zeros(256), "gate": zeros(512, 256), "up": zeros(512, 256), "down": zeros(256, 512)}
    blocks = [(attention, FusedMlp.of(gated, "dense", dtype))] * _LAYERS
    head = FusedHead.of({"norm": zeros(256), "lm_head": zeros(256, 256)}, dtype)
    cache = [(zeros(1, 4, 512, 64), zeros(1, 4, 512, 64)) for _ in blocks]
    decoder = FusedDecoder(config, module, shape, blocks, head, zeros(256, 256), cache)
    return recorded_seconds(device, decoder.queue) / (2 * _LAYERS)


def read_rates(device: torch.device) -> dict[str, float]:
    """Return bytes/s of weights multiplied with one vector, by weight format: ``dense``, ``int8``, ``int4g32``."""
    dtype = activation_dtype(device)
    kind = ACTIVATIONS["fp16" if dtype == torch.float16 else "bf16"]
    formats = ("dense", "int8", "int4g32")
    staged = launch.staged(1, _COLUMNS)
    module = CudaModule([Instance("residual_gemv", (kind, FORMATS[f], "1", staged)) for f in formats], str(device))
    x = torch.zeros(1, _COLUMNS, dtype=dtype, device=device)
    buffers = [torch.zeros(_RATE_BYTES + (64 << 10), dtype=torch.uint8, device=device) for _ in range(2)]
    found = {}
    for weight_format in formats:
        rows = _RATE_BYTES // (matrix_bytes(1024, _COLUMNS, weight_format) // 1024) // 64 * 64
        matrices = [matrix_at(buffer, rows, _COLUMNS, weight_format, dtype) for buffer in buffers]
        out = torch.zeros(1, rows, dtype=dtype, device=device)

        def queue(matrices: list[PackedMatrix] = matrices, out: torch.Tensor = out) -> None:
            for matrix in matrices:
                launch.residual_gemv(module, x, matrix, None, out, out)

        found[weight_format] = sum(m.nbytes for m in matrices) / recorded_seconds(device, queue)
    return found
