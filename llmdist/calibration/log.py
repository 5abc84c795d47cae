"""The machine's log of predictions and measurements: a small JSON file in the cache folder, one run per line.

The file belongs to one profile of one machine and one version of the engine; a ratio to other rates means nothing.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..hardware.profile import HardwareProfile
from ..paths import cache_folder, replace_text
from .observation import Observation

__all__ = ["CalibrationLog", "log_key"]

LOG_VERSION = 1
LONGEST = 64


def log_key(hardware: HardwareProfile, engine: str) -> dict[str, Any]:
    """Return what a log is valid for: its format, the engine's version, the machine, its rates."""
    rates: list[tuple[str | float, ...]] = [
        (d.name, d.bandwidth, d.flops, d.overhead_seconds, d.pass_seconds, d.handover_seconds)
        for d in hardware.devices
    ]
    rates += [(d.name, d.handover_seconds_per_byte) for d in hardware.devices]
    links = [[k.source, k.target, k.bandwidth, k.latency_seconds] for k in hardware.links]
    digest = hashlib.sha256(json.dumps([rates, links]).encode()).hexdigest()[:12]
    return {"version": LOG_VERSION, "engine": engine, "machine": hardware.machine, "profile": digest}


class CalibrationLog:
    """The observations of one machine. `note` is a sentence where a file was found and could not be used.

    With `path` None nothing is written, and what was observed is forgotten with the session.
    """

    def __init__(self, key: dict[str, Any], path: Path | None) -> None:
        self.key, self.path, self.note = key, path, ""
        self.observations: tuple[Observation, ...] = self._read() or ()

    @classmethod
    def of(cls, hardware: HardwareProfile, engine: str) -> CalibrationLog:
        """Return the log of this machine; one of rates that were not kept is not written either."""
        key = log_key(hardware, engine)
        kept = hardware.source == "measured" and not hardware.note
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
        return cls(key, cache_folder() / f"calibration-{digest}.json" if kept else None)

    def add(self, seen: Observation) -> None:
        """Append one observation to what other processes wrote meanwhile; only the last ones are kept."""
        found = self._read()
        self.observations = (*(self.observations if found is None else found), seen)[-LONGEST:]
        self._write()

    def forget(self, model: str | None = None) -> int:
        """Forget the runs of `model`, or all; return how many."""
        found = self._read()
        before = self.observations if found is None else found
        self.observations = tuple(seen for seen in before if model is not None and seen.model != model)
        self._write()
        return len(before) - len(self.observations)

    def _read(self) -> tuple[Observation, ...] | None:
        """Return what the file holds; None where there is none of this machine, or a damaged one."""
        if self.path is None or not self.path.exists():
            return None
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            if stored["key"] != self.key:
                return None
            return tuple(map(Observation.from_json, stored["runs"]))[-LONGEST:]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.note = f"The log of predictions {self.path} cannot be read and is left out; the next run replaces it."
            return None

    def _write(self) -> None:
        """Replace the file in one step; a log that cannot be written only costs what it would have taught."""
        if self.path is None:
            return
        rows = ",\n".join(f"  {json.dumps(seen.to_json())}" for seen in self.observations)
        with suppress(OSError):
            replace_text(self.path, f'{{"key": {json.dumps(self.key)},\n "runs": [\n{rows}\n]}}\n')
