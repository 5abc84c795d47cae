"""A profile as aligned plain text, for terminals and logs."""

from __future__ import annotations

from collections.abc import Sequence

from ..units import format_bytes, format_rate, format_seconds
from .profile import Device, HardwareProfile, Link

__all__ = ["describe"]


def describe(profile: HardwareProfile) -> str:
    """Return a table of the devices and a table of the links."""
    devices: list[tuple[str, ...]] = [("device", "memory", "free", "reads at", "matmul", "per block", "what")]
    devices += [_device_row(device) for device in profile.devices]
    links: list[tuple[str, ...]] = [("link", "bandwidth", "latency")]
    links += [_link_row(link) for link in profile.links]
    title = f"{profile.machine}, {profile.source} {profile.date}" + (f" ({profile.note})" if profile.note else "")
    prices = [(d.name, d.pass_seconds) for d in profile.devices if d.pass_seconds]
    passes = [f"{name}: {format_seconds(price)} fixed per token, beside its blocks" for name, price in prices]
    passes += [
        f"{d.name}: {format_seconds(d.handover_seconds)} fixed per block that is streamed to it"
        for d in profile.devices
        if d.handover_seconds
    ]
    return "\n".join([title, *_aligned(devices), *(_aligned(links) if profile.links else []), *passes])


def _device_row(device: Device) -> tuple[str, ...]:
    return (
        device.name,
        format_bytes(device.memory_bytes),
        format_bytes(device.free_bytes),
        format_rate(device.bandwidth) if device.bandwidth else "-",
        f"{device.flops / 1e9:.0f} GFLOP/s" if device.flops else "-",
        format_seconds(device.overhead_seconds) if device.overhead_seconds else "-",
        _short(device.label) if device.kind == "disk" else device.label,
    )


def _short(path: str) -> str:
    """Return the last two folders of a path, which tell a person enough."""
    parts = path.replace("\\", "/").split("/")
    return path if len(parts) <= 3 else "/".join(["...", *parts[-2:]])


def _link_row(link: Link) -> tuple[str, ...]:
    path = f"{link.source} > {link.target}"
    return (path, format_rate(link.bandwidth), format_seconds(link.latency_seconds))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in padded]
