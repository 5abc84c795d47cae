"""``python -m llmdist.bench stream``: a model larger than the memory it may use, its weights read from disk per token.

The limit is what direct reads of the same files get from this disk: the median over the rounds, because a disk's rate
drifts. Every engine runs in its own process under one memory limit that counts the page cache, so no file lies in
memory unseen; engines take turns. A peer that is not installed is named and skipped.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..buffers import aligned_buffer
from ..errors import HardwareError
from ..hardware import hardware_profile
from ..model.checkpoint import Checkpoint
from ..model.reader import PIECE_BYTES, Part, Pending, Reader
from ..paths import child_environment
from ..units import format_bytes, parse_size
from ._memory_limit import limited_group, within
from .gguf_files import write_gguf
from .rows import Row, ratio, table, write_json
from .synthetic import SHAPES, write_synthetic

__all__ = ["TOGETHER", "disk_bandwidth", "main"]

TOGETHER = "llmdist, 8 prompts together"
_PACKAGES = {"llmdist": "llmdist", "accelerate": "accelerate", "llama.cpp": "llama_cpp"}
#: What two interpreters with torch hold beside the weights; a peer in one process has it as a present.
_BASE_BYTES = 700 << 20
_DISK_BYTES, _REST_SECONDS = 1 << 30, 6.0


def disk_bandwidth(folder: Path) -> float:
    """Return bytes/s of the faster of two ways to read the first GiB of the weights in `folder` directly.

    Reads land in their target or in a small buffer that stays in the caches; which is faster depends on the disk.
    Before each the disk rests as long as it does while an engine starts: shared disks are faster after a rest.
    """
    rates = []
    for shift in (0, 64):
        time.sleep(_REST_SECONDS)
        rates.append(_read_rate(folder, shift))
    return max(rates)


def _read_rate(folder: Path, shift: int) -> float:
    reader = Reader()
    slots = [aligned_buffer(PIECE_BYTES * 8 + shift)[shift:] for _ in range(2)]
    pending: list[Pending] = []
    total, files = 0, sorted(folder.glob("*.safetensors"))
    try:
        reader.read([Part(file, 0, torch.uint8, slots[0][:64]) for file in files])  # opening is not reading
        start = time.perf_counter()
        for file in files:
            size = file.stat().st_size // PIECE_BYTES * PIECE_BYTES
            for at in range(0, min(size, _DISK_BYTES - total), len(slots[0])):
                if len(pending) == 2:
                    pending.pop(0).wait()
                count = min(len(slots[0]), size - at)
                slots.reverse()
                pending.append(reader.submit([Part(file, at, torch.uint8, slots[0][:count])]))
                total += count
        for request in pending:
            request.wait()
        return total / (time.perf_counter() - start)
    finally:
        reader.close()


def _run(engine: str, path: Path, memory: int, limit: int, tokens: int) -> dict[str, Any]:
    """Return what one engine said, run under `limit` bytes with nothing of its files in the page cache."""
    _forget(path)
    command = [
        sys.executable, "-m", "llmdist.bench._stream_child", engine, str(path), str(memory), str(tokens)
    ]  # fmt: skip
    with limited_group(limit) as group:
        done = subprocess.run(
            within(group, command), env=child_environment(), capture_output=True, text=True, timeout=1800
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise HardwareError(f"{engine} did not run under {format_bytes(limit)}: {last[0]}")
        return {**json.loads(done.stdout.splitlines()[-1]), "limited": group is not None}


def _forget(path: Path) -> None:
    """Ask the system to drop the files' pages."""
    for file in [path] if path.is_file() else path.glob("*.safetensors"):
        if hasattr(os, "posix_fadvise"):
            with file.open("rb") as handle:
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _rows(found: dict[str, list[dict[str, Any]]], disk: float, scenario: str, facts: dict[str, Any]) -> list[Row]:
    medians = {name: statistics.median(s for run in runs for s in run["seconds"]) for name, runs in found.items()}
    rows = []
    for name, seconds in medians.items():
        moved = found[name][0].get("moved")
        share = ratio(moved / seconds, disk) if moved else None
        against = None if name == "llmdist" else medians[name] / medians["llmdist"]
        more = {"limited": found[name][0]["limited"], "moved_bytes_per_token": moved, "runs": len(found[name])}
        rows.append(Row(scenario, name, "decode", 1 / seconds, "tokens/s", share, against, {**facts, **more}))
    return rows


def main(arguments: Sequence[str]) -> int:
    """Read the command line, measure, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m llmdist.bench stream", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("bench-stream.json"))
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--ram", default="700MB", help="for llmdist's and accelerate's weights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=6)
    parser.add_argument("--peers", default="accelerate,llama.cpp", help="engines to compare with")
    parser.add_argument("--work", type=Path, help="folder for the models; a temporary one by default")
    options = parser.parse_args(arguments)
    memory = parse_size(options.ram)
    with tempfile.TemporaryDirectory(prefix="llmdist-bench-") as temporary:
        work = options.work or Path(temporary)
        folder = work / f"llama-{options.shape}"
        write_synthetic(folder, SHAPES[options.shape])
        hardware_profile(folder)
        paths = {"llmdist": folder, TOGETHER: folder}
        for peer in filter(None, options.peers.split(",")):
            if importlib.util.find_spec(_PACKAGES.get(peer, peer)) is None:
                print(f"skipped: {peer} is not installed")
                continue
            paths[peer] = folder
            if peer == "llama.cpp":
                paths[peer] = work / f"{folder.name}-BF16.gguf"
                write_gguf(Checkpoint.open(folder), paths[peer], "BF16")
        limits: dict[str, float] = {}
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in paths}
        for number in range(options.rounds):
            limits[f"disk_round_{number + 1}"] = disk_bandwidth(folder)
            for name, path in paths.items():
                found[name].append(_run(name, path, memory, memory + _BASE_BYTES, options.tokens))
        limits["disk_after"] = disk_bandwidth(folder)
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    facts = {"ram": memory, "limit_bytes": memory + _BASE_BYTES, "weight_bytes": size}
    scenario = f"Llama {options.shape}, {format_bytes(size)} in {format_bytes(memory)}"
    rows = _rows(found, statistics.median(limits.values()), scenario, facts)
    print("\n".join(f"{name}: {value / 1e9:.2f} GB/s" for name, value in limits.items()))
    print(table(rows))
    write_json(options.json, limits, rows)
    return 0
