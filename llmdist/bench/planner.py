"""``python -m llmdist.bench planner``: the colony and its rivals on the committed suite, same evaluator, same time.

Times are seconds of processor time per run. Finished runs are written to the JSON file at once, so a run that was
cut short goes on where it stopped. Gaps are fractions: to the best plan that any run found, and to the best bound.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import PlanError
from ..planner.rivals import RIVALS
from ._planner_checks import large, small
from ._planner_runs import METHODS, VARIANTS, Run, Task, run_all
from ._planner_suite import SUITE
from .rows import conditions

__all__ = ["gaps", "main", "summary"]

CLOSE = 0.01


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m llmdist.bench planner", description=__doc__)
    parser.add_argument("--json", type=Path, help="write runs here as they finish; go on from an existing file")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of the methods that draw (default 10)")
    parser.add_argument("--seconds", type=float, default=2.0, help="processor seconds per run (default 2)")
    parser.add_argument("--problems", default="*", help="patterns of problem names, separated by commas")
    parser.add_argument("--methods", default=",".join(METHODS), help=f"some of {', '.join(METHODS)}")
    parser.add_argument("--ablation", action="store_true", help="run the colony without each of its parts instead")
    parser.add_argument("--checks", type=int, metavar="N", help="N small problems against the optimum, 80 layers timed")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side (default 2)")
    return parser


def _tasks(options: argparse.Namespace) -> list[Task]:
    patterns = options.problems.split(",")
    problems = [name for name in SUITE if any(fnmatch(name, pattern) for pattern in patterns)]
    methods = ["colony", *VARIANTS] if options.ablation else options.methods.split(",")
    unknown = [method for method in methods if method not in METHODS and method not in VARIANTS]
    if unknown or not problems:
        raise PlanError(
            f"Methods {', '.join(unknown) or '-'} or problems {options.problems!r} are not known: methods are "
            f"{', '.join(METHODS)}; problems are {', '.join(SUITE)}."
        )
    drawing = dict.fromkeys(["colony", *VARIANTS], True) | {name: draws for name, (_, draws) in RIVALS.items()}
    return [
        Task(problem, method, seed, options.seconds)
        for seed in range(options.seeds)
        for problem in problems
        for method in methods
        if seed == 0 or drawing[method]
    ]


def gaps(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per run: gaps to the best plan and the best bound of its problem, seconds to within 1 %."""
    best: dict[str, float] = defaultdict(lambda: float("inf"))
    bound: dict[str, float] = defaultdict(float)
    for run in runs:
        name = run["problem"]
        if run["objective"] is not None:
            best[name] = min(best[name], run["objective"])
        bound[name] = max(bound[name], run["bound"])
    rows = []
    for run in runs:
        name, value = run["problem"], run["objective"]
        goal = best[name] * (1 + CLOSE)
        rows.append({
            "problem": name, "method": run["method"], "seed": run["seed"],
            "gap_to_best": None if value is None else value / best[name] - 1,
            "gap_to_bound": None if value is None or not bound[name] else value / bound[name] - 1,
            "seconds_to_1_percent": next((t for t, v in run["trace"] if v <= goal), None),
            "evaluations": run["evaluations"],
        })  # fmt: skip
    return rows


def _percent(values: Sequence[float | None], worst: bool = False) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values) and (worst or 2 * len(known) <= len(values)):
        return "none"  # no plan that fits
    return f"{100 * (max(known) if worst else median(known)):.2f} %"


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Return one line per method as a Markdown table; each problem counts by its median run."""
    lines = [
        "| method | median gap to best | worst problem | worst | median gap to bound | within 1 % | seconds to 1 % |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    by_method: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_method[row["method"]].append(row)
    for method, own in by_method.items():
        problems: dict[str, list[float]] = defaultdict(list)
        for row in own:
            problems[row["problem"]].append(float("inf") if row["gap_to_best"] is None else row["gap_to_best"])
        medians = [None if (m := median(values)) == float("inf") else m for values in problems.values()]
        reached = [row["seconds_to_1_percent"] for row in own if row["seconds_to_1_percent"] is not None]
        gap, proven = ([row[name] for row in own] for name in ("gap_to_best", "gap_to_bound"))
        lines.append(
            f"| {method} | {_percent(medians)} | {_percent(medians, True)} "
            f"| {_percent(gap, True)} | {_percent(proven)} "
            f"| {len(reached)} of {len(own)} | {f'{median(reached):.2f}' if reached else '-'} |"
        )
    return "\n".join(lines)


def by_problem(rows: Sequence[dict[str, Any]], own: str = "colony") -> str:
    """Return one line per problem as a Markdown table: the colony's runs, and the rival with the best median."""
    lines = [
        "| problem | median gap to best | worst | median gap to bound | best rival | its median | ahead |",
        "|---|---:|---:|---:|---|---:|---:|",
    ]
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        gap = float("inf") if row["gap_to_best"] is None else row["gap_to_best"]
        values[row["problem"]][row["method"]].append(gap)
    for problem, methods in values.items():
        if own not in methods:
            continue
        mine = methods.pop(own)
        proven = [r["gap_to_bound"] for r in rows if (r["problem"], r["method"]) == (problem, own)]
        rival = min(methods, key=lambda name: median(methods[name]), default="-")
        other = median(methods[rival]) if methods else float("inf")
        cells = [_percent([median(mine)]), _percent([max(mine)]), _percent(proven), rival]
        ahead = (1 + other) / (1 + median(mine)) - 1
        cells += [_percent([other]), _percent([ahead])] if other < float("inf") else ["none", "-"]
        lines.append(f"| {problem} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def beaten(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the problems where a rival's run was better than the colony's run of the same seed, in words."""
    found = []
    own = {(row["problem"], row["seed"]): row["gap_to_best"] for row in rows if row["method"] == "colony"}
    for row in rows:
        mine, other = own.get((row["problem"], row["seed"])), row["gap_to_best"]
        if row["method"] != "colony" and mine is not None and other is not None and other < mine - 1e-6:
            found.append(f"{row['problem']}, seed {row['seed']}: {row['method']} is better by {mine - other:.3%}")
    return found


def _flat(run: Run) -> dict[str, Any]:
    task = asdict(run.task)
    return {**{key: task[key] for key in ("problem", "method", "seed", "seconds")}, "objective": run.objective,
            "bound": run.bound, "evaluations": run.evaluations, "used_seconds": run.seconds,
            "trace": [list(point) for point in run.trace], "error": run.error}  # fmt: skip


def _read(path: Path | None, seconds: float) -> list[dict[str, Any]]:
    if path is None or not path.exists():
        return []
    runs = json.loads(path.read_text(encoding="utf-8")).get("runs", [])
    return [run for run in runs if run["seconds"] == seconds]


def _write(path: Path | None, runs: list[dict[str, Any]]) -> None:
    if path is not None:
        data = {"conditions": conditions(), "rows": gaps(runs), "runs": runs}
        part = path.with_suffix(".part")
        part.write_text(json.dumps(data) + "\n", encoding="utf-8")
        part.replace(path)


def main(arguments: Sequence[str]) -> int:
    """Run the suite, print one table, write the rows."""
    options = _parser().parse_args(list(arguments))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # read by the worker processes: one thread each
    if options.checks:
        print(small(options.checks))
        print(large())
        return 0
    runs = _read(options.json, options.seconds)
    known = {(run["problem"], run["method"], run["seed"]) for run in runs}
    tasks = [task for task in _tasks(options) if (task.problem, task.method, task.seed) not in known]
    for number, run in enumerate(run_all(tasks, options.jobs), 1):
        runs.append(_flat(run))
        if number % 20 == 0 or number == len(tasks):
            _write(options.json, runs)
            print(f"{number} of {len(tasks)} runs", flush=True)
    rows = gaps(runs)
    print(f"{len({row['problem'] for row in rows})} problems, {options.seconds} processor seconds per run\n")
    print(summary(rows))
    print("\n" + by_problem(rows))
    if options.ablation:
        return 0
    losses = beaten(rows)
    print("\nA rival was better than the colony at the same seed: " + ("; ".join(losses) if losses else "never") + ".")
    return 0
