"""The browser predicts and edits as Python does: the same figures, the same choices, on random placements."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from llmdist.bench.random_problems import random_problem, rich_problem
from llmdist.cost.vectorised import evaluate_many
from llmdist.hardware import Link
from llmdist.planner import PlanningProblem, PlanResult, evaluate
from llmdist.planner.problem import MODES
from llmdist.planner.tables import CostTables, cost_tables
from llmdist_widgets.editor_draft import option_of
from llmdist_widgets.editor_tables import packed_tables
from llmdist_widgets.editor_why import alternatives
from llmdist_widgets.editor_words import Target

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from editor_node import NODE, run_script
from synthetic import make_problem

pytestmark = pytest.mark.skipif(NODE is None, reason="needs node for the editor's JavaScript; none on this machine")
PLACEMENTS = 1000


def problems() -> list[PlanningProblem]:
    """Return problems of one to six devices, every mode, precision and objective, one to three slots."""
    found = [replace(random_problem(seed, 3 + seed), precisions=("bf16", "int8")) for seed in range(4)]
    found += [replace(p, objective="finish", slots=1 + i) for i, p in enumerate(found[:3])]
    found += [rich_problem(seed, 2 + seed % 5) for seed in range(16)]
    big = make_problem(20)
    found.append(replace(big, objective="finish", workspace_bytes=10**8, slots=3))
    one_way = tuple(link for link in big.links if (link.source, link.target) != ("cuda:0", "cpu"))
    found.append(replace(big, links=one_way, precisions=("bf16", "int8", "int4")))
    return found


def random_choices(tables: CostTables, count: int, rng: Random) -> list[list[int]]:
    """Return option indices: uniform, in runs, and all alike, so that lanes are empty, mixed and full."""
    found = []
    for index in range(count):
        if index % 3 == 0:
            found.append([rng.randrange(len(row)) for row in tables.options])
            continue
        palette = [rng.random() for _ in range(1 + index % 3)]
        width = len(tables.options)
        found.append([int(palette[b * len(palette) // width] * len(row)) for b, row in enumerate(tables.options)])
    return found


def close(a: float | None, b: float) -> bool:
    """Whether the browser's `a` equals Python's `b`; JSON writes infinity as null."""
    return (a is None and np.isinf(b)) or (a is not None and abs(a - b) <= 1e-6 * max(abs(b), 1e-12))


def test_javascript_predicts_as_python_does_on_1000_random_placements(tmp_path):
    """Speed, first token, memory, bytes, gap: equal to `evaluate` within 1e-6, in all modes and objectives."""
    rng, cases, expected = Random(7), [], []
    every = problems()
    modes: set[str] = set()
    for index, problem in enumerate(every):
        tables = cost_tables(problem)
        count = PLACEMENTS // len(every) + (index < PLACEMENTS % len(every))
        choices = random_choices(tables, count, rng)
        cases.append({"packed": packed_tables(tables, 1e-3), "choices": choices})
        placements = [tables.placement(np.array(row)) for row in choices]
        modes |= {choice.mode for placement in placements for choice in placement.assignments}
        seconds, over = evaluate_many(tables, np.array(choices))
        rows = zip([evaluate(problem, placement) for placement in placements], seconds, over, strict=True)
        expected.append(list(rows))
    answers = run_script(
        tmp_path,
        "answer(data.map(({ packed, choices }) => { const t = cost.openTables(packed);"
        " return choices.map((c) => cost.predict(t, c)); }));",
        cases,
    )
    checked, barred, fitting = 0, 0, 0
    for found, wanted in zip(answers, expected, strict=True):
        for got, (p, seconds, over) in zip(found, wanted, strict=True):
            checked += 1
            barred += np.isinf(p.tpot_seconds)
            fitting += over == 0
            assert got["fits"] == (over == 0)
            assert close(got["tpot"], p.tpot_seconds) and close(got["ttft"], p.ttft_seconds)
            assert close(got["tokensPerSecond"], p.tokens_per_second) and close(got["gap"], max(0, seconds / 1e-3 - 1))
            assert got["copied"] == p.bytes_per_token
            assert all(close(g, v) for g, v in zip(got["peak"], p.peak_bytes.values(), strict=True))
    assert checked == PLACEMENTS and 0 < barred < PLACEMENTS / 4 and 50 < fitting < PLACEMENTS - 50
    assert modes == {"resident", "streamed", "demand", "split"}
    assert {problem.objective for problem in every} == {"latency", "finish", "throughput"}


def test_javascript_chooses_options_and_alternatives_as_python_does(tmp_path):
    """Of 400 random wishes and 40 blocks, both sides take the same option and price the same alternatives."""
    rng = Random(3)
    big = make_problem(6)
    links = (*big.links, Link("cuda:0", "cpu", 2e10, 1e-5))
    problem = replace(big, precisions=("bf16", "int8", "int4"), links=links, modes=MODES)
    tables = cost_tables(problem)
    names, executors = [d.name for d in problem.devices], [d.name for d in problem.devices if d.executes]
    wishes, wanted = [], []
    for _ in range(400):
        block = rng.randrange(len(tables.options))
        current = rng.randrange(len(tables.options[block]))
        wish = {
            "execute": rng.choice([None, *range(len(executors))]), "home": rng.choice([None, *range(len(names))]),
            "precision": rng.choice([None, "bf16", "int4", "fp32"]),
            "mode": rng.choice([None, None, "streamed", "split", "split:5"]),
        }  # fmt: skip
        wishes.append([block, current, wish])
        execute = None if wish["execute"] is None else executors[wish["execute"]]
        home = None if wish["home"] is None else names[wish["home"]]
        wanted.append(option_of(tables.options[block], current, Target(execute, home, wish["precision"], wish["mode"])))
    choices = random_choices(tables, 40, rng)
    answers = run_script(
        tmp_path,
        "const t = cost.openTables(data.packed);"
        "answer({ options: data.wishes.map(([b, k, w]) => editing.optionOf(t.options[b], k, w)),"
        " other: data.choices.map((c, i) => cost.alternatives(t, c, i % c.length)) });",
        {"packed": packed_tables(tables, 1e-3), "wishes": wishes, "choices": choices},
    )
    assert answers["options"] == [-1 if option is None else option for option in wanted]
    assert {None} < set(wanted)
    for index, (choice, found) in enumerate(zip(choices, answers["other"], strict=True)):
        python = {a.option: a for a in alternatives(tables, choice, index % len(choice))}
        for other in found:
            here = python[other["option"]]
            assert other["fits"] == (not here.over_device)
            if other["seconds"] is not None and np.isfinite(here.seconds_change):
                assert abs(other["seconds"] - here.seconds_change) <= 1e-9


def limit_words(sentence: str) -> str:
    """Return what the browser calls the limit that `bottleneck` names."""
    known = {
        "The fixed price of a pass": "price of a pass", "No part alone": "copies and computing in turn",
        "The devices limit in turn": "devices in turn", "The way of the activations": "way of activations",
    }  # fmt: skip
    for begin, words in known.items():
        if sentence.startswith(begin):
            return words
    found = re.match(r"(The fixed price of)(?: \d+ blocks on)? (\S+) limits|(.+?) (\S+) limits", sentence)
    assert found is not None, sentence
    if found[1]:
        return f"fixed price of blocks on {found[2]}"
    return f"{found[3].removeprefix('The ').replace('Computing', 'computing')} {found[4]}"


def test_javascript_names_the_limit_that_bottleneck_names(tmp_path):
    """Links, devices, their fixed prices, the pass, and parts that wait for each other, on 240 random placements."""
    rng, cases, wanted = Random(5), [], []
    for problem in [p for p in problems() if p.objective != "throughput"]:
        for scale in (0.0, 1.0, 100.0):  # of fixed prices, so that each kind of limit is met
            prices = ((scale * device.overhead_seconds, scale * device.pass_seconds) for device in problem.devices)
            pairs = zip(problem.devices, prices, strict=True)
            devices = tuple(replace(d, overhead_seconds=block, pass_seconds=whole) for d, (block, whole) in pairs)
            made = replace(problem, devices=devices)
            tables = cost_tables(made)
            choices = random_choices(tables, 6, rng)
            placements = [tables.placement(np.array(row)) for row in choices]
            predictions = [evaluate(made, placement) for placement in placements]
            kept = [i for i, p in enumerate(predictions) if np.isfinite(p.tpot_seconds)]
            cases.append({"packed": packed_tables(tables, 1e-3), "choices": [choices[i] for i in kept]})
            for i in kept:
                p = predictions[i]
                plan = PlanResult(made, placements[i], p, p.tpot_seconds, p.tpot_seconds, "", 0, 0, 0, 0.0)
                wanted.append(limit_words(plan.bottleneck()))
    script = (
        "answer(data.flatMap(({ packed, choices }) => { const t = cost.openTables(packed);"
        " return choices.map((c) => cost.predict(t, c).limit); }));"
    )
    assert run_script(tmp_path, script, cases) == wanted
    kinds = {words.split()[0] for words in wanted}
    assert len(wanted) > 200 and {"link", "copies", "memory", "fixed"} <= kinds
