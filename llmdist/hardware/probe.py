"""What is there: devices with their total and free memory, without any rate."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import psutil
import torch

from .profile import Device

__all__ = ["cpu_label", "existing_folder", "free_memory", "probe_devices"]

CGROUP_ROOT = Path("/sys/fs/cgroup")


def probe_devices(folder: Path | None = None) -> tuple[Device, ...]:
    """Return the processor, each CUDA device, and the disk that holds `folder` (default: the home folder)."""
    total, free = _host_memory()
    cpu = Device("cpu", "cpu", total, free, label=cpu_label())
    return (cpu, *_cuda_devices(), _disk(folder))


def existing_folder(folder: Path | None) -> Path:
    """Return `folder`, or its nearest parent that exists; the home folder for None."""
    path = (folder or Path.home()).expanduser().absolute()
    return next((parent for parent in (path, *path.parents) if parent.is_dir()), Path.cwd())


def cpu_label() -> str:
    """Return the processor's model name, or the architecture where the system does not tell it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def free_memory() -> int:
    """Return the bytes of memory that the machine, or the control group this process is in, can still give."""
    return _host_memory()[1]


def _host_memory() -> tuple[int, int]:
    """Return total and free bytes: the machine's, or the control group's where it is the tighter limit."""
    memory = psutil.virtual_memory()
    total, free = int(memory.total), int(memory.available)
    for limit, used in _cgroup_limits():
        total, free = min(total, limit), min(free, max(0, limit - used))
    return total, free


def _cgroup_limits() -> list[tuple[int, int]]:
    """Return (limit, bytes in use) of every control group, versions 1 and 2, that this process is in."""
    try:
        memberships = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = CGROUP_ROOT, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root, names = CGROUP_ROOT / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        inner = root / path.lstrip("/")
        groups = [group for group in (inner, *inner.parents) if group == root or root in group.parents]
        for group in groups:
            limit = _read_integer(group / names[0])
            used = _read_integer(group / names[1])
            if limit is not None and used is not None:
                found.append((limit, max(0, used - _reclaimable(group))))
    return found


def _reclaimable(group: Path) -> int:
    """Return the bytes of page cache in a control group that the kernel gives up on demand."""
    try:
        rows = [line.split() for line in (group / "memory.stat").read_text().splitlines()]
    except OSError:
        return 0
    values = {row[0]: int(row[1]) for row in rows if len(row) == 2}
    return values.get("total_inactive_file", values.get("inactive_file", 0))


def _read_integer(path: Path) -> int | None:
    """Return the number in a file; None when it is missing or says ``max``."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _cuda_devices() -> tuple[Device, ...]:
    if not torch.cuda.is_available():
        return ()
    devices = []
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        free = _free_by_driver(str(found.uuid))
        if free is None:
            free = torch.cuda.mem_get_info(index)[0]
        total = int(found.total_memory)
        name, has_bf16 = f"cuda:{index}", found.major >= 8
        devices.append(Device(name, "cuda", total, min(free, total), label=found.name, has_bf16=has_bf16))
    return tuple(devices)


def _free_by_driver(uuid: str) -> int | None:
    """Return the free bytes of a GPU as its driver's management library says; None where it does not.

    CUDA itself would open a context for the question: some hundred MiB of the GPU, for as long as the notebook lives.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).free)
    except (ImportError, OSError):
        return None
    except pynvml.NVMLError:  # no such library, or a part of a GPU, which has another name there
        return None


def _disk(folder: Path | None) -> Device:
    place = existing_folder(folder)
    usage = shutil.disk_usage(place)
    return Device("disk", "disk", usage.total, usage.free, label=str(place))
