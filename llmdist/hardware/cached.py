"""The machine's profile from a cache with fresh memory figures, or measured anew."""

from __future__ import annotations

import json
import platform
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

from ..paths import cache_folder, replace_text
from .apart import measure_apart
from .measure import PAGE_CACHE, Progress
from .probe import cpu_label, existing_folder, probe_devices
from .profile import Device, HardwareProfile

__all__ = ["busy_share", "cache_file", "hardware_profile"]

CACHE_VERSION = 10
#: Rates measured while other work uses more of the processor than this are used once and not kept.
BUSY_SHARE = 0.3


def hardware_profile(
    folder: Path | str | None = None, refresh: bool = False, progress: Progress | None = None
) -> HardwareProfile:
    """Return the machine's profile: from the cache with fresh memory figures, or measured anew.

    Parameters
    ----------
    folder : where the model rests; its disk is the one that is timed.
    refresh : measure even if a cached profile fits.
    progress : called with (what is measured, fraction done); not called when the cache serves.

    Raises
    ------
    HardwareError : the machine could not be measured.
    """
    place = existing_folder(Path(folder) if folder is not None else None)
    key = _cache_key(place)
    if not refresh:
        cached = _load(key)
        if cached is not None:
            return _with_memory_of(cached, probe_devices(place))
    busy = busy_share()
    profile = measure_apart(place, progress)
    if busy > BUSY_SHARE:
        return replace(profile, note=f"beside other work that used {busy:.0%} of the processor: not kept")
    if not profile.note:  # a GPU that was full may be free the next time
        _store(key, profile)
    return profile


def busy_share(seconds: float = 0.3) -> float:
    """Return the share of the processor that is in use, 0 to 1, watched for `seconds`."""
    return float(psutil.cpu_percent(interval=seconds)) / 100


def cache_file(key: dict[str, Any]) -> Path:
    """Return where the profile with this key is kept."""
    return cache_folder() / f"hardware-disk{key['disk']}.json"


def _cache_key(folder: Path) -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "version": CACHE_VERSION,
        "machine": platform.node(),
        "cpu": cpu_label(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "gpus": gpus,
        "disk": folder.stat().st_dev,
    }


def _load(key: dict[str, Any]) -> HardwareProfile | None:
    """Return the cached profile; None when it is missing, of another machine, or unreadable."""
    try:
        stored = json.loads(cache_file(key).read_text(encoding="utf-8"))
        return HardwareProfile.from_json(stored["profile"]) if stored["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _store(key: dict[str, Any], profile: HardwareProfile) -> None:
    """Write the cache in one step; a cache that cannot be written only costs the next measurement."""
    with suppress(OSError):
        replace_text(cache_file(key), json.dumps({"key": key, "profile": profile.to_json()}, indent=1))


def _with_memory_of(profile: HardwareProfile, probed: tuple[Device, ...]) -> HardwareProfile:
    now = {device.name: device for device in probed}

    def renewed(device: Device) -> Device:
        fresh = now.get(device.name, device)
        label = fresh.label
        if device.label.endswith(PAGE_CACHE) and not label.endswith(PAGE_CACHE):
            label += PAGE_CACHE
        return replace(device, memory_bytes=fresh.memory_bytes, free_bytes=fresh.free_bytes, label=label)

    return replace(profile, devices=tuple(map(renewed, profile.devices)))
