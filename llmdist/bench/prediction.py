"""``python -m llmdist.bench prediction``: predicted against measured tokens per second, from resident to all streamed.

Each model takes twelve placements on the CPU: from everything in memory to everything but the embedding on disk, the
streamed blocks spread evenly. The machine is measured once before; the error is |predicted / measured - 1|.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..demo import model_path
from ..hardware import hardware_profile
from ..planner import Assignment, Placement
from ..session import load
from .rows import Row, table, write_json
from .synthetic import SHAPES, write_synthetic

__all__ = ["main", "placements"]

_STEPS = 12


def placements(blocks: Sequence[str], precision: str, count: int = _STEPS) -> list[Placement]:
    """Return `count` placements on the CPU with evenly more blocks streamed from disk, the embedding never."""
    movable = [name for name in blocks if name != "embed"]
    found = []
    for step in range(count):
        streamed, carry = set(), 0.0
        for name in movable:
            carry += step / (count - 1)
            if carry >= 1 - 1e-9:
                streamed.add(name)
                carry -= 1
        homes = ("disk" if name in streamed else "cpu" for name in blocks)
        found.append(Placement(tuple(blocks), tuple(Assignment("cpu", home, precision) for home in homes)))
    return found


def _measure(name: str, model: str, tokens: int, rounds: int) -> list[Row]:
    """Return one row per placement of `model`; rounds go through all placements in turn."""
    session = load(model)
    try:
        session.plan(context=256, seconds=0.5)
        blocks = [block.name for block in session.profile.blocks]
        chosen = placements(blocks, session.profile.precision)
        measured: list[list[float]] = [[] for _ in chosen]
        predicted = []
        for round_ in range(rounds):
            for i, placement in enumerate(chosen):
                session.apply(placement)
                assert session.plan_result is not None
                if round_ == 0:
                    predicted.append(session.plan_result.prediction.tokens_per_second)
                steps = list(session.generate("Anna", max_new_tokens=tokens))
                measured[i].append(1 / statistics.median(step.step_seconds for step in steps[tokens // 4 :]))
    finally:
        session.unload()
    rows = []
    for placement, said, seen in zip(chosen, predicted, measured, strict=True):
        value = statistics.median(seen)
        facts = {"predicted": said, "error": abs(said / value - 1), "streamed": placement.count("streamed")}
        label = f"{name}, {facts['streamed']} of {len(blocks)} streamed, predicted {said:.4g}"
        rows.append(Row(label, "llmdist", "decode", value, "tokens/s", said / value, None, facts))
    return rows


def main(arguments: Sequence[str]) -> int:
    """Read the command line, measure, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m llmdist.bench prediction", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("bench-prediction.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=(*SHAPES, "none"), default="1b", help="beside the bundled model")
    parser.add_argument("--work", type=Path, help="folder for the model; a temporary one by default")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="llmdist-bench-") as temporary:
        hardware_profile(model_path())
        rows = _measure("demo", "demo", 48, options.rounds)
        if options.shape != "none":
            folder = (options.work or Path(temporary)) / f"llama-{options.shape}"
            write_synthetic(folder, SHAPES[options.shape])
            rows += _measure(f"Llama {options.shape}", str(folder), 8, options.rounds)
    print(table(rows))
    limits = {}
    for name in dict.fromkeys(row.scenario.split(",")[0] for row in rows):
        errors = [float(row.conditions["error"]) for row in rows if row.scenario.startswith(name + ",")]
        limits[f"{name}: median error"], limits[f"{name}: worst error"] = statistics.median(errors), max(errors)
    print("\n".join(f"{name}: {value:.1%}" for name, value in limits.items()))
    write_json(options.json, limits, rows)
    return 0
