"""What a benchmark found: rows with a value, its share of the machine's own limit, and the conditions.

A row is plain data; `table` is for people, `write_json` for programs. Ratios are only ever between figures of one run.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from ..hardware.probe import cpu_label

__all__ = ["Row", "conditions", "ratio", "table", "write_json"]


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure: `value` in `unit` (a median unless the metric says otherwise).

    `ratio_to_limit`: share of the machine's own limit measured in the same run, None where there is no such limit.
    `ratio_to_llmdist`: llmdist's figure divided by this one, so 2.0 means that llmdist is twice as fast.
    """

    scenario: str
    engine: str
    metric: str
    value: float
    unit: str
    ratio_to_limit: float | None = None
    ratio_to_llmdist: float | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)


def ratio(value: float, other: float) -> float | None:
    """Return value / other; None where it means nothing."""
    return value / other if value > 0 and other > 0 else None


def conditions() -> dict[str, Any]:
    """Return what every report states: date, processor, threads, versions."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "cpu": cpu_label(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "system": platform.platform(),
    }


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""

    def share(number: float | None) -> str:
        return "-" if number is None else f"{number:.2f}"

    lines = ["| scenario | engine | metric | value | of the limit | llmdist is |", "|---|---|---|---:|---:|---:|"]
    for row in rows:
        times = share(row.ratio_to_llmdist)
        lines.append(
            f"| {row.scenario} | {row.engine} | {row.metric} | {row.value:.4g} {row.unit} "
            f"| {share(row.ratio_to_limit)} | {times if times == '-' else times + 'x'} |"
        )
    return "\n".join(lines)


def write_json(path: str | Path, limits: Mapping[str, float], rows: Sequence[Row]) -> None:
    """Write conditions, the machine's measured limits and the rows to `path`."""
    data = {"conditions": conditions(), "limits": dict(limits), "rows": [asdict(row) for row in rows]}
    Path(path).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
