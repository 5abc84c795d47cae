"""``python -m llmdist.bench cpu``: decode and prefill on the CPU against the memory's own limit and other engines.

The limit is what a loop that only reads gets from this memory, in as many streams as suit it best. It and the engines
take turns token by token, so a slow second of the machine hits all of them, and every figure, the limit too, is a
median over the turns. A peer that is not installed is named and skipped.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..buffers import aligned_buffer
from ..kernels.cpu import kernels
from ..model.checkpoint import Checkpoint
from .cpu_engines import Engine, EngineMissing, LlamaCpp, Llmdist, Transformers
from .gguf_files import write_gguf
from .rows import Row, ratio, table, write_json
from .synthetic import SHAPES, write_synthetic

__all__ = ["main", "read_bandwidth"]

_PRECISIONS = ("bf16", "fp16", "int8", "int4")
#: What llama.cpp is compared with, at equal bits a weight.
_EQUAL_BITS = {"bf16": "BF16", "fp16": "F16", "int8": "Q8_0", "int4": "Q4_0"}
_READ_BYTES, _STREAMS = 512 << 20, (1, 2, 4, 8)


def read_bandwidth(data: Tensor, threads: int, streams: int) -> float:
    """Return bytes/s of one pure read of `data` (uint8) in `streams` streams a thread; 0 where nothing compiles."""
    library = kernels()
    if library is None:
        return 0.0
    start = time.perf_counter()
    library.llmdist_read(data.data_ptr(), data.nbytes, threads, streams)
    return data.nbytes / (time.perf_counter() - start)


def _engines(folder: Path, work: Path, peers: Sequence[str]) -> list[Engine]:
    makers: list[Callable[[], Engine]] = [lambda p=p: Llmdist(folder, p) for p in _PRECISIONS]  # type: ignore[misc]
    if "transformers" in peers:
        makers.append(lambda: Transformers(folder))
    makers += [lambda k=k: _llama(folder, work, k) for k in _EQUAL_BITS.values() if k in peers]  # type: ignore[misc]
    found: list[Engine] = []
    for make in makers:
        try:
            found.append(make())
        except EngineMissing as missing:
            print(f"skipped: {missing}")
    return found


def _llama(folder: Path, work: Path, kind: str) -> Engine:
    import importlib.util

    if importlib.util.find_spec("llama_cpp") is None:
        raise EngineMissing(f"llama.cpp {kind}: llama-cpp-python is not installed")
    file = work / f"{folder.name}-{kind}.gguf"
    write_gguf(Checkpoint.open(folder), file, kind)
    return LlamaCpp(file, kind)


def _rounds(
    engines: Sequence[Engine], rounds: int, steps: int, prompt: int
) -> tuple[dict[str, dict[str, float]], dict[tuple[int, int], list[float]]]:
    """Return the medians per engine (seconds of a step and of a prompt), and the reads per threads and streams."""
    data = aligned_buffer(_READ_BYTES).fill_(1)
    reads: dict[tuple[int, int], list[float]] = {
        (threads, streams): [] for threads in sorted({1, torch.get_num_threads()}) for streams in _STREAMS
    }
    tokens = [3 + i % 1000 for i in range(prompt)]
    times: dict[str, dict[str, list[float]]] = {e.name: {"step": [], "prefill": []} for e in engines}
    for engine in engines:
        engine.prefill(tokens[:8])
        engine.step()
    for _ in range(rounds):
        for engine in engines:
            times[engine.name]["prefill"].append(engine.prefill(tokens))
        for _ in range(steps):  # one after the other, as the memory's own rate changes within seconds
            for (threads, streams), found in reads.items():
                found.append(read_bandwidth(data, threads, streams))
            for engine in engines:
                engine.step()  # brings back what the others drove out of the caches
                times[engine.name]["step"].append(engine.step())
    medians = {name: {key: statistics.median(v) for key, v in kept.items()} for name, kept in times.items()}
    return medians, reads


def _limits(reads: dict[tuple[int, int], list[float]]) -> dict[str, float]:
    """Return the median per number of threads, of the best number of streams, and the range around it."""
    limits = {}
    for threads in {threads: None for threads, _ in reads}:
        best = max((found for (count, _), found in reads.items() if count == threads), key=statistics.median)
        limits[f"read_{threads}_threads"] = statistics.median(best)
        limits |= {f"read_{threads}_threads_min": min(best), f"read_{threads}_threads_max": max(best)}
    return limits


def _rows(
    engines: Sequence[Engine], medians: dict[str, dict[str, float]], limit: float, prompt: int, scenario: str
) -> list[Row]:
    rows = []
    for engine in engines:
        mine = _counterpart(engine.name, medians)
        step, prefill = medians[engine.name]["step"], medians[engine.name]["prefill"]
        share = ratio(engine.read_bytes / step, limit) if limit else None
        facts = {"weight_bytes": engine.read_bytes, "prompt_tokens": prompt, "threads": torch.get_num_threads()}
        against = None if mine is None else step / medians[mine]["step"]
        rows.append(Row(scenario, engine.name, "decode", 1 / step, "tokens/s", share, against, facts))
        against = None if mine is None else prefill / medians[mine]["prefill"]
        rows.append(Row(scenario, engine.name, "prefill", prompt / prefill, "tokens/s", None, against, facts))
    return rows


def _counterpart(name: str, medians: dict[str, dict[str, float]]) -> str | None:
    """Return llmdist's engine at equal bits; None for llmdist itself."""
    kind = name.rsplit(" ", 1)[1]
    own = next((p for p, k in _EQUAL_BITS.items() if k == kind), kind)
    found = f"llmdist {own}"
    return found if found in medians and found != name else None


def main(arguments: list[str]) -> int:
    """Read the command line, measure, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m llmdist.bench cpu", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("bench-cpu.json"))
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument(
        "--peers", default=f"transformers,{','.join(_EQUAL_BITS.values())}",
        help="engines to compare with: transformers, and formats of llama.cpp; none for llmdist alone",
    )  # fmt: skip
    parser.add_argument("--work", type=Path, help="folder for the models; a temporary one by default")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="llmdist-bench-") as temporary:
        work = options.work or Path(temporary)
        folder = work / f"llama-{options.shape}"
        write_synthetic(folder, SHAPES[options.shape])
        engines = _engines(folder, work, options.peers.split(","))
        rounds, steps, prompt = (2, 6, 64) if options.quick else (5, 10, 128)
        medians, reads = _rounds(engines, rounds, steps, prompt)
        limits = _limits(reads)
        limit = limits[f"read_{torch.get_num_threads()}_threads"]
        rows = _rows(engines, medians, limit, prompt, f"Llama {options.shape}")
        for engine in engines:
            engine.close()
    print("\n".join(f"{name}: {value / 1e9:.1f} GB/s" for name, value in limits.items()))
    print(table(rows))
    write_json(options.json, limits, rows)
    return 0
