"""``python -m llmdist.bench memory``: peaks against their plans, what rounds leave behind, what packing to int4 takes.

Sizes are what the system says of the processes: the engine's high-water mark above its empty start, and the driver's
resident bytes. Packing is timed as well, first and second load in one run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import psutil

from ..paths import cache_folder
from ..session import Session, load
from ..units import format_bytes
from .rows import Row, table, write_json
from .synthetic import SHAPES, write_synthetic

__all__ = ["main"]

_SHORT, _PROMPT = "Anna", "Anna the ant walked to the river. " * 90
_ROUNDS = 20
#: Bytes of a precision against bf16, roughly, and caps as a share of that: most streamed, some, none.
_SIZES, _SHARES = {"bf16": 1.0, "int8": 0.7, "int4": 0.5}, (0.5, 0.7, 1.5)


def _peaks(folder: Path, size: int) -> list[Row]:
    """Return the engine's peak against the plan's for twelve plans: caps, precisions, a batch."""
    rows = []
    session = load(folder)
    try:
        for precision, share, batch in _plans():
            plan = session.plan(ram=int(size * share), precision=precision, context=1024, batch=batch, seconds=0.5)
            _speak(session, batch)
            planned, seen = plan.prediction.peak_bytes["cpu"], session.stats.peak_bytes["cpu"]
            facts = {"planned": planned, "streamed": plan.placement.count("streamed"), "error_bytes": seen - planned}
            label = f"{precision}, {facts['streamed']} streamed, batch {batch}, planned {planned / 1e6:.0f} MB"
            rows.append(Row(label, "llmdist", "peak", seen / 1e6, "MB", seen / planned, None, facts))
    finally:
        session.unload()
    return rows


def _speak(session: Session, batch: int) -> None:
    if batch > 1:
        list(session.generate_batch([_PROMPT] * batch, max_new_tokens=4))
    else:
        list(session.generate(_PROMPT, max_new_tokens=4))


def _plans() -> list[tuple[str, float, int]]:
    """Return precision, cap as a share of the checkpoint's bytes, and batch of the twelve plans."""
    plans = [(name, share * size, 1) for (name, size), share in product(_SIZES.items(), _SHARES)]
    return plans + [("bf16", share, 4) for share in _SHARES]


def _rounds(isolate: bool) -> Row:
    """Return what rounds of load, plan, generate and unload leave in this process after the first five."""
    kept = []
    for _ in range(_ROUNDS):
        session = load("demo", isolate=isolate)
        session.plan(ram="6MB", context=256, seconds=0.2)
        list(session.generate("One day", max_new_tokens=8))
        session.unload()
        kept.append(psutil.Process().memory_info().rss)
    where = "engine in a child" if isolate else "engine inside"
    facts = {"resident_mb": [round(value / 1e6, 1) for value in kept]}
    return Row(f"{_ROUNDS} rounds, {where}", "llmdist", "growth", (kept[-1] - kept[4]) / 1e6, "MB", None, None, facts)


def _packing(folder: Path, size: int) -> list[Row]:
    """Return the peak of a first load to int4 above what it leaves, and the seconds of a first and a second load."""
    rows = []
    for turn in ("first", "second"):
        session = load(folder)
        try:
            session.plan(precision="int4", context=1024, seconds=0.5)
            start = time.perf_counter()
            list(session.generate(_SHORT, max_new_tokens=1))
            seconds = time.perf_counter() - start
            list(session.generate(_PROMPT, max_new_tokens=2))
            steady, peak = (psutil.Process(session.engine_pid).memory_info().rss, session.stats.peak_bytes["cpu"])
            planned = session.plan_result.prediction.peak_bytes["cpu"] if session.plan_result else 0
        finally:
            session.unload()
        label = f"{turn} load of {format_bytes(size)} to int4"
        facts = {"peak": peak, "resident": steady, "planned": planned}
        rows.append(Row(label, "llmdist", "load and first token", seconds, "s", None, None, facts))
        rows.append(Row(label, "llmdist", "peak above the plan", (peak - planned) / 1e6, "MB", None, None, facts))
    return rows


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def main(arguments: Sequence[str]) -> int:
    """Read the command line, measure, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m llmdist.bench memory", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("bench-memory.json"))
    parser.add_argument("--parts", default="peaks,rounds,packing")
    parser.add_argument("--work", type=Path, help="folder for the models; a temporary one by default")
    options = parser.parse_args(arguments)
    parts, rows = options.parts.split(","), list[Row]()
    with tempfile.TemporaryDirectory(prefix="llmdist-bench-") as temporary:
        work = options.work or Path(temporary)
        if "peaks" in parts:
            folder = work / "llama-small"
            write_synthetic(folder, SHAPES["small"], tokenizer=True)
            rows += _peaks(folder, _size(folder))
        if "rounds" in parts:
            rows += [_rounds(True), _rounds(False)]
        if "packing" in parts:
            folder = work / "llama-4gb"
            write_synthetic(folder, replace(SHAPES["1b"], layers=43), tokenizer=True)
            rows += _packing(folder, _size(folder))
    print(table(rows))
    print(f"Packed weights stay in {cache_folder() / 'packed'}.")
    write_json(options.json, {}, rows)
    return 0
