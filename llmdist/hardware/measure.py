"""How fast the machine is: memory, matmul, disk and copies, timed in a few seconds by the process that calls."""

from __future__ import annotations

import errno
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch

from ..buffers import aligned_buffer
from ..errors import HardwareError, LlmdistError
from ..kernels.device_rates import block_seconds, read_rates
from ..kernels.linear import linear
from ..model.direct_file import ALIGNMENT
from ..model.probe_blocks import tiny_blocks
from ..model.reader import Part, Pending, Reader
from .probe import existing_folder, probe_devices
from .profile import Device, HardwareProfile, Link

__all__ = ["PAGE_CACHE", "Progress", "measure", "measuring_files"]

Progress = Callable[[str, float], None]
MIB = 1 << 20
READ_BYTES = 4 * MIB
SLOT_BYTES = 64 * MIB
SMALL_BYTES, SMALL_REQUESTS, MIN_LATENCY = 300_000, 48, 1e-6
#: Ends the label of a disk whose reads came from memory, because the system could not be told to forget the file.
PAGE_CACHE = " (page cache)"


def measure(
    folder: Path | str | None = None, progress: Progress | None = None, seconds: float = 6.0,
    matrix_bytes: int = 64 * MIB, file_bytes: int = 256 * MIB,
) -> HardwareProfile:  # fmt: skip
    """Time this machine and return its profile.

    Parameters
    ----------
    folder : whose disk is timed; a temporary file is written there and removed.
    progress : called with (what is measured, fraction done).
    seconds : aimed at for the whole; each part may pass its share by one repetition.
    matrix_bytes, file_bytes : sizes of one matrix and of the file; smaller ones fit into caches.

    A GPU that torch cannot use, or that is full, is left out with a warning, which is also the profile's note.
    """
    place = existing_folder(Path(folder) if folder is not None else None)
    say = progress or (lambda what, fraction: None)
    probed = probe_devices(place)
    share = seconds / (3 + 4 * (len(probed) - 2) + 1)
    executing = [device for device in probed if device.executes]
    devices, left_out = list[Device](), list[str]()
    for number, device in enumerate(executing):
        say(f"{device.name}: memory and matmul", number / (len(probed) + 1))
        try:
            devices.append(_timed_device(device, matrix_bytes, share))
        except RuntimeError as error:  # torch has no code for this card, or it is full
            if device.kind != "cuda":
                raise
            left_out.append(f"{device.name} ({device.label}) is left out: {str(error).splitlines()[0]}")
    say("disk: reading", len(executing) / (len(probed) + 1))
    found = _time_disk(place, file_bytes)
    effort = found.effort / torch.get_num_threads()
    devices = [replace(d, handover_seconds_per_byte=effort) if d.kind == "cpu" else d for d in devices]
    disk = next(device for device in probed if device.kind == "disk")
    devices.append(replace(disk, bandwidth=found.rate, label=disk.label + (PAGE_CACHE if found.cached else "")))
    links = [Link("disk", "cpu", found.rate, found.latency)]
    for device in devices:
        if device.kind == "cuda":
            say(f"{device.name}: copies", (len(probed) - 0.5) / (len(probed) + 1))
            links += _cuda_links(device.name, links[0], matrix_bytes, share)
    say("done", 1.0)
    for sentence in left_out:
        warnings.warn(sentence, stacklevel=2)
    return HardwareProfile(
        platform.node(), tuple(devices), tuple(links), date.today().isoformat(), note="; ".join(left_out)
    )


def _timed_device(device: Device, matrix_bytes: int, seconds: float) -> Device:
    target = torch.device(device.name)
    if device.kind == "cuda":
        with suppress(LlmdistError):  # no compiler for the kernels: torch's operators decide
            return _timed_by_kernels(device, target, matrix_bytes, seconds)
    return replace(
        device,
        bandwidth=_gemv_rate(target, matrix_bytes, seconds),
        flops=_matmul_rate(target, matrix_bytes, seconds),
        overhead_seconds=_block_overhead(target, seconds / 4),
    )


def _timed_by_kernels(device: Device, target: torch.device, matrix_bytes: int, seconds: float) -> Device:
    """Return the device with what the kernels of decoding reach on it, and torch's matmul."""
    rates = read_rates(target)
    return replace(
        device,
        bandwidth=rates["dense"],
        flops=_matmul_rate(target, matrix_bytes, seconds),
        overhead_seconds=block_seconds(target),
        precision_factors={"int8": rates["dense"] / rates["int8"], "int4": rates["dense"] / rates["int4g32"]},
    )


def _median_seconds(step: Callable[[], object], target: torch.device, seconds: float) -> float:
    """Return the median duration of `step` after one warm-up; at least three repetitions."""
    step()
    _wait(target)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        _wait(target)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _wait(target: torch.device) -> None:
    if target.type == "cuda":
        torch.cuda.synchronize(target)


def _gemv_rate(target: torch.device, matrix_bytes: int, seconds: float) -> float:
    """Return bytes/s of bf16 matrix times vector over four matrices in turn, by the product that a decode step uses."""
    columns = 4096
    rows = max(1, matrix_bytes // (2 * columns))
    matrices = [_matrix(rows, columns, target) for _ in range(4)]
    x = torch.ones(1, columns, dtype=torch.bfloat16, device=target)

    def step() -> None:
        for matrix in matrices:
            linear(x, matrix)

    with torch.inference_mode():
        return 4 * rows * columns * 2 / _median_seconds(step, target, seconds)


def _matrix(rows: int, columns: int, target: torch.device) -> torch.Tensor:
    """Return a bf16 matrix in the kind of memory that weights lie in there."""
    if target.type == "cuda":
        return torch.full((rows, columns), 0.01, dtype=torch.bfloat16, device=target)
    return aligned_buffer(2 * rows * columns).view(torch.bfloat16).view(rows, columns).fill_(0.01)


def _matmul_rate(target: torch.device, matrix_bytes: int, seconds: float) -> float:
    """Return FLOP/s of a bf16 matmul with many tokens, as prefill does."""
    largest = 4096 if target.type == "cuda" else 1024
    size = min(largest, max(16, int((matrix_bytes / 2) ** 0.5)))
    a = torch.full((size, size), 0.01, dtype=torch.bfloat16, device=target)
    with torch.inference_mode():
        return 2.0 * size**3 / _median_seconds(lambda: linear(a, a), target, seconds)


def _block_overhead(target: torch.device, seconds: float) -> float:
    """Return the seconds of a block so small that only the fixed price of its operators remains."""
    run = tiny_blocks(target)
    return _median_seconds(lambda: run(1), target, seconds) / 2  # attention and MLP


class _Disk(NamedTuple):
    """`rate` in bytes/s and `latency` of the reads that stream weights, `cached` if they came from the page cache.

    `effort`: seconds of one core per byte, in which the processor copied instead of computing.
    """

    rate: float
    latency: float
    cached: bool
    effort: float


def _time_disk(folder: Path, file_bytes: int) -> _Disk:
    """Return what reading a file of random bytes in `folder` shows."""
    with _temporary_file(folder, file_bytes) as (path, size):
        dropped = _drop_from_page_cache(path)
        reader = Reader()
        try:
            slot = torch.empty(min(SLOT_BYTES, size), dtype=torch.uint8)
            reader.read([Part(path, 0, torch.uint8, slot[:ALIGNMENT])])  # opens the file
            slots = [Part(path, start, torch.uint8, slot[: size - start]) for start in range(0, size, len(slot))]
            start, used = time.perf_counter(), time.process_time()
            for request in [reader.submit([part]) for part in slots]:
                request.wait()
            rate = size / max(time.perf_counter() - start, 1e-9)
            used = time.process_time() - used
            latency = _request_latency(reader, path, slot, rate)
        finally:
            reader.close()
        return _Disk(rate, latency, not dropped, used / size)


def _request_latency(reader: Reader, path: Path, slot: torch.Tensor, rate: float) -> float:
    """Return the seconds that a small request costs beside its bytes, two in flight as two slots have."""
    nbytes = min(SMALL_BYTES, len(slot) // 2)
    count = min(SMALL_REQUESTS, len(slot) // nbytes)
    targets = [slot[i * nbytes : (i + 1) * nbytes] for i in range(count)]
    ends = [time.perf_counter()]
    waiting: list[Pending] = []
    for i, target in enumerate(targets):
        waiting.append(reader.submit([Part(path, i * nbytes, torch.uint8, target)]))
        if len(waiting) == 2 or i + 1 == count:
            waiting.pop(0).wait()
            ends.append(time.perf_counter())
    for request in waiting:
        request.wait()
    return max(MIN_LATENCY, statistics.median(b - a for a, b in pairwise(ends)) - nbytes / rate)


@contextmanager
def _temporary_file(folder: Path, nbytes: int) -> Iterator[tuple[Path, int]]:
    """Write random bytes into a file in `folder` (the system's own if it cannot be written) and remove it after."""
    places = [place for place in (folder, Path(tempfile.gettempdir())) if os.access(place, os.W_OK)]
    path = None
    for number, place in enumerate(places):
        try:
            path = _written(place, nbytes)
            break
        except OSError as error:
            if number + 1 == len(places):
                raise HardwareError(
                    f"The disk of {folder} was to be timed with a file of {nbytes >> 20} MiB, which could not be "
                    f"written ({error.strerror}): free some space there, or in {tempfile.gettempdir()}."
                ) from error
    if path is None:
        raise HardwareError(f"Neither {folder} nor {tempfile.gettempdir()} can be written to time the disk.")
    try:
        yield path, path.stat().st_size
    finally:
        path.unlink(missing_ok=True)


def measuring_files(pid: int, folder: Path) -> list[Path]:
    """Return the files that process `pid` has written to time the disk of `folder` and not removed."""
    places = {folder, Path(tempfile.gettempdir())}
    return [path for place in places for path in place.glob(f"{_prefix(pid)}*")]


def _prefix(pid: int) -> str:
    return f"llmdist-measure-{pid}-"


def _written(place: Path, nbytes: int) -> Path:
    """Write a temporary file and return its path; leaves none behind when it cannot be written."""
    handle, name = tempfile.mkstemp(prefix=_prefix(os.getpid()), dir=place)
    path, piece = Path(name), os.urandom(min(READ_BYTES, nbytes))
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            for _ in range(max(1, nbytes // len(piece))):
                written = file.write(piece)
                if written != len(piece):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _drop_from_page_cache(path: Path) -> bool:
    """Ask the system to forget the file's pages; False where that cannot be asked (Windows, macOS)."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def _cuda_links(name: str, disk: Link, nbytes: int, seconds: float) -> list[Link]:
    """Return the links host to device, device to host and disk to device of one CUDA device."""
    target = torch.device(name)
    host = torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)
    there = torch.empty(nbytes, dtype=torch.uint8, device=target)
    latency = _median_seconds(lambda: there[:4].copy_(host[:4], non_blocking=True), target, seconds / 4)
    down = nbytes / _median_seconds(lambda: there.copy_(host, non_blocking=True), target, seconds)
    up = nbytes / _median_seconds(lambda: host.copy_(there, non_blocking=True), target, seconds)
    return [
        Link("cpu", name, down, latency),
        Link(name, "cpu", up, latency),
        Link("disk", name, min(disk.bandwidth, down), disk.latency_seconds + latency),
    ]
