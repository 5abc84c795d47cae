"""Plan and placement files: small JSON with one line per block, so that two of them can be compared by `diff`.

Equal blocks are written once; names come from the placement. A prediction is written for people and computed anew when
the file is read, so that a file cannot lie about speed. Reading names every mistake in one message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..errors import PlanError
from ..model.blocks import Block
from .placement import Assignment, Placement
from .pricing import evaluate, violations
from .problem import PlanningProblem
from .reading import build, read_json, refuse, violations_of
from .result import HistoryRow, PlanResult

__all__ = ["load_placement", "load_plan", "problem_from_json", "save_placement", "save_plan"]

FORMAT = "llmdist plan 1"
_SCALARS = ("method", "seed", "iterations", "evaluations", "elapsed_seconds", "objective_seconds", "bound_seconds")
_LINE = 110


def dumps(value: Any, indent: int = 0) -> str:
    """Return JSON in which whatever fits into one line stands in one line."""
    line = json.dumps(value)
    if not isinstance(value, (dict, list, tuple)) or (indent and len(line) + indent <= _LINE) or not value:
        return line
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        rows = [f"{pad}{json.dumps(k)}: {dumps(v, indent + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    return "[\n" + ",\n".join(f"{pad}{dumps(v, indent + 1)}" for v in value) + "\n" + " " * indent + "]"


def save_plan(plan: PlanResult, path: str | Path) -> None:
    """Write `plan` to a JSON file."""
    problem = plan.problem.to_json()
    labels, shapes = _shapes(plan.problem.blocks)
    prediction = plan.prediction
    told = ("tokens_per_second", "tpot_seconds", "ttft_seconds", "bytes_per_token")
    shown = {name: getattr(prediction, name) for name in told}
    data = {
        "format": FORMAT,
        **{name: getattr(plan, name) for name in _SCALARS},
        "simulated": plan.simulated,
        "machine": plan.machine,
        "placement": plan.placement.to_json(),
        "prediction": {**shown, "peak_bytes": dict(prediction.peak_bytes), "spread": prediction.spread},
        "shapes": shapes,
        "chain": _folded(labels),
        "problem": {name: item for name, item in problem.items() if name != "blocks"},
        "history": [[row.iteration, *(_short(v) for v in (row.elapsed_seconds, row.best, row.mean, row.entropy))]
                    for row in plan.history],
        "trail": {name: " ".join(f"{share:.3g}" for share in row)
                  for name, row in zip(plan.placement.blocks, plan.trail, strict=False)},
    }  # fmt: skip
    Path(path).write_text(dumps(data) + "\n", encoding="utf-8")


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if value < float("inf") else None


def _shapes(blocks: Sequence[Block]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the label of every block, and what each label stands for: a block without its name."""
    shapes: dict[str, dict[str, Any]] = {}
    labels = []
    for block in blocks:
        own = {name: item for name, item in asdict(block).items() if name != "name"}
        same = [label for label, shape in shapes.items() if shape == own]
        label = same[0] if same else block.kind
        while not same and label in shapes:
            label += "+"
        shapes[label] = own
        labels.append(label)
    return labels, shapes


def _folded(labels: Sequence[str]) -> list[list[Any]]:
    """Return the labels as [count, labels that repeat so often], such as [32, "attention mlp"]."""
    folded: list[list[Any]] = []
    start = 0
    while start < len(labels):
        best = (1, 1)  # (period, count)
        for period in range(1, min(16, len(labels) - start) + 1):
            part, count = labels[start : start + period], 1
            while labels[start + period * count : start + period * (count + 1)] == part:
                count += 1
            if count > 1 and period * count > best[0] * best[1]:
                best = (period, count)
        folded.append([best[1], " ".join(labels[start : start + best[0]])])
        start += best[0] * best[1]
    return folded


def _unfolded(value: Any, found: list[str]) -> list[str]:
    labels: list[str] = []
    for i, entry in enumerate(value if isinstance(value, list) else [value]):
        good = isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)
        if not good or isinstance(entry[0], bool) or not isinstance(entry[0], int) or not 0 < entry[0] <= 10_000:
            found.append(f"chain[{i}] is not [count, labels]")
        elif len(labels) + entry[0] * len(entry[1].split()) > 100_000:
            found.append("the chain has more than 100000 blocks")
        else:
            labels += entry[1].split() * entry[0]
    return labels


def _network_violations(data: Mapping[str, Any]) -> list[str]:
    """Return links to oneself, links and devices twice, and names that nothing has; each by its name."""

    def rows(name: str) -> list[dict[str, Any]]:
        value = data.get(name)
        return [row for row in value if isinstance(row, dict)] if isinstance(value, (list, tuple)) else []

    names = [str(row.get("name")) for row in rows("devices")]
    pairs = [(str(row.get("source")), str(row.get("target"))) for row in rows("links")]
    found = [f"device {name} stands there twice" for name in names if names.count(name) > 1]
    found += [f"link {s}>{t} stands there twice" for s, t in pairs if pairs.count((s, t)) > 1]
    found += [f"link {s}>{t} leads to itself" for s, t in pairs if s == t]
    found += [f"link {s}>{t} joins an unknown device" for s, t in pairs if not {s, t} <= set(names)]
    caps = data.get("caps")
    found += [f"cap for unknown device {n}" for n in (caps if isinstance(caps, dict) else ()) if n not in names]
    return found


def problem_from_json(data: Any, what: str = "The planning problem") -> PlanningProblem:
    """Return the problem that `PlanningProblem.to_json` wrote; PlanError with every violation in one message."""
    problem, found = _problem(data)
    refuse(what, found)
    assert problem is not None
    return problem


def _problem(data: Any) -> tuple[PlanningProblem | None, list[str]]:
    found = violations_of(PlanningProblem, data, "problem")
    if isinstance(data, dict):
        found += _network_violations(data)
    if found:
        return None, found
    try:
        made: PlanningProblem = build(PlanningProblem, data)
    except PlanError as error:
        return None, [str(error).removeprefix("The planning problem is not valid: ").removesuffix(".")]
    return made, []


def _placement(data: Any, found: list[str]) -> Placement | None:
    """Return the placement, or add what is wrong with it to `found`."""
    if not isinstance(data, dict) or not data:
        found.append("the placement is not an object of 'block': 'exec home precision'")
        return None
    found += [f"block {name} stands in the placement twice" for name in getattr(data, "keys_twice", ())]
    choices: list[Assignment] = []
    for name, text in data.items():
        try:
            choices += Placement.from_json({name: text}).assignments
        except PlanError:
            shown = text[:40] if isinstance(text, str) else type(text).__name__
            found.append(f"{name[:60]} has {shown!r} where 'exec home precision' is needed")
    return Placement(tuple(data), tuple(choices)) if len(choices) == len(data) else None


def load_plan(path: str | Path) -> PlanResult:
    """Return the plan that `save_plan` wrote.

    Raises
    ------
    PlanError : the file cannot be read, or holds what cannot be: every violation is in the message.
    """
    data = read_json(path, "plan")
    what = f"The plan file {path}"
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise PlanError(f"The file {path} is not a plan that llmdist saved: it does not say {FORMAT!r}.")
    found: list[str] = []
    kinds = {field.name: field.type for field in fields(PlanResult)}
    for name in (*_SCALARS, "simulated", "machine"):
        kind = {"int": int, "float": float, "str": str, "bool": bool}[str(kinds[name])]
        found += violations_of(kind, data.get(name), name)
    placement = _placement(data.get("placement"), found)
    problem, more = _problem(_with_blocks(data, found))
    found += more
    history, trail = _history(data.get("history", []), found), _trail(data.get("trail", {}), found)
    spread = data.get("prediction", {}).get("spread", 0.0) if isinstance(data.get("prediction"), dict) else -1.0
    found += violations_of(float, spread, "prediction.spread")
    prediction = None
    if problem is not None and placement is not None:
        try:  # memory caps are not asked here: a plan may be kept that does not fit, and is refused when applied
            prediction = evaluate(problem, placement)
        except PlanError as error:
            found.append(str(error).removesuffix("."))
    refuse(what, found)
    assert problem is not None and placement is not None and prediction is not None
    rest = {name: data[name] for name in (*_SCALARS, "simulated", "machine")}
    kept = {n: v for n, v in asdict(prediction).items() if n != "spread"}
    return PlanResult(
        problem, placement, type(prediction)(**kept, spread=float(spread)), history=history, trail=trail, **rest
    )


def _with_blocks(data: Mapping[str, Any], found: list[str]) -> Any:
    """Return the problem's JSON with the blocks put back from shapes, chain and the placement's names."""
    shapes, problem, names = data.get("shapes"), data.get("problem"), data.get("placement")
    if not isinstance(shapes, dict) or not isinstance(problem, dict) or not isinstance(names, dict):
        found.append("shapes, problem and placement must be objects")
        return problem
    labels = _unfolded(data.get("chain"), found)
    unknown = sorted({label for label in labels if not isinstance(shapes.get(label), dict)})
    found += [f"the chain names {label[:40]!r}, which shapes do not have" for label in unknown]
    if len(labels) != len(names):
        found.append(f"the placement has {len(names)} blocks, the chain {len(labels)}: it is for another model")
    pairs = zip(names, labels, strict=False)
    return {**problem, "blocks": [{"name": n, **shapes[label]} for n, label in pairs if label not in unknown]}


def _history(value: Any, found: list[str]) -> tuple[HistoryRow, ...]:
    rows = []
    for i, row in enumerate(value if isinstance(value, list) else [value]):
        known = [0 if v is None else v for v in row] if isinstance(row, list) else row
        wrong = violations_of(list[float], known, f"history[{i}]")
        if wrong or len(row) != 5:
            found += wrong or [f"history[{i}] has {len(row)} numbers, not 5"]
        else:
            rows.append(HistoryRow(int(row[0] or 0), *(float("inf") if v is None else float(v) for v in row[1:])))
    return tuple(rows)


def _trail(value: Any, found: list[str]) -> tuple[tuple[float, ...], ...]:
    rows = []
    for name, text in (value if isinstance(value, dict) else {"trail": value}).items():
        try:
            row = tuple(float(word) for word in text.split())
        except (AttributeError, ValueError):
            row = (-1.0,)
        if not all(0 <= share <= 1 for share in row):
            found.append(f"the trail of {name[:60]} is not shares from 0 to 1")
        rows.append(row)
    return tuple(rows)


def save_placement(placement: Placement, path: str | Path) -> None:
    """Write `placement` to a JSON file, one line per block."""
    Path(path).write_text(dumps(placement.to_json()) + "\n", encoding="utf-8")


def load_placement(path: str | Path, problem: PlanningProblem | None = None) -> Placement:
    """Return the placement in the file, which may be a plan's as well; with `problem` it must suit that.

    Raises
    ------
    PlanError : every violation is in the message.
    """
    data = read_json(path, "placement")
    if isinstance(data, dict) and data.get("format") == FORMAT:
        data = data.get("placement")
    found: list[str] = []
    placement = _placement(data, found)
    if placement is not None and problem is not None:
        found += violations(problem, placement)
    refuse(f"The placement file {path}", found)
    assert placement is not None
    return placement
