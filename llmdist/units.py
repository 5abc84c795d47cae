"""Sizes, durations and speeds: read from what people type, written as people read them.

Memory sizes are binary (GiB), bandwidths decimal (GB/s); the two are never mixed in one table.
"""

from __future__ import annotations

import math
import re

from .errors import UnitError

__all__ = ["format_amount", "format_bytes", "format_rate", "format_seconds", "format_speed", "parse_size"]

_FACTORS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"\s*([-+]?\d+(?:\.\d+)?(?:e\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def parse_size(size: int | float | str) -> int:
    """Return a memory size in bytes.

    Parameters
    ----------
    size : bytes as a number, or text such as ``"8GiB"``, ``"700 MB"``, ``"1.5g"`` (g = GiB).

    Raises
    ------
    UnitError : when the text is not a number with a known unit, or the size is not positive.
    """
    match = _SIZE.fullmatch(str(size)) if not isinstance(size, bool) else None
    if match is None or match.group(2).lower() not in _FACTORS:
        raise UnitError(
            f"The size {size!r} cannot be read: write a number and a unit such as 8GiB, 700MB or 512MiB."
        )
    value = float(match.group(1)) * _FACTORS[match.group(2).lower()]
    if value <= 0 or value == float("inf"):
        raise UnitError(f"The size {size!r} is not above zero: write for example 8GiB.")
    return int(value)


def format_bytes(size: float) -> str:
    """Return a size with a binary unit and three digits, such as ``1.50 GiB``."""
    if abs(size) < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if abs(size) < 1024 or unit == "GiB":
            break
    return f"{size:.3g} {unit}" if abs(size) < 1000 else f"{size:.0f} {unit}"


def format_rate(bytes_per_second: float) -> str:
    """Return a bandwidth with a decimal unit, such as ``23.9 GB/s``."""
    return f"{format_amount(bytes_per_second)}/s"


def format_amount(nbytes: float) -> str:
    """Return how much was read or sent, with the unit of its rate, such as ``1.2 GB``."""
    scaled, unit = nbytes, "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if abs(scaled) < 999.5:
            break
        scaled, unit = scaled / 1000, larger
    return f"{scaled:.3g} {unit}"


def format_seconds(seconds: float) -> str:
    """Return a duration with a fitting unit, such as ``3.10 ms``."""
    if seconds >= 1 or seconds == 0:
        return f"{seconds:.2f} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.2f} ms"
    return f"{seconds * 1e6:.0f} us"


def format_speed(tokens_per_second: float) -> str:
    """Return tokens/s without the unit: three digits, or all of a number from 1000 on, such as ``33.3`` or ``1208``."""
    if not 0 < tokens_per_second < math.inf:
        return f"{tokens_per_second:g}"
    rounded = float(f"{tokens_per_second:.3g}")
    if rounded >= 1000:
        return f"{tokens_per_second:.0f}"
    return f"{rounded:.{2 - math.floor(math.log10(rounded))}f}"
