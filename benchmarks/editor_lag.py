"""How long the placement editor takes to answer a finger: 162 blocks x 16 options, idle and while the ants run.

``python benchmarks/editor_lag.py`` prints medians and worst cases in milliseconds. In JupyterLab, kernel and browser
share the machine, so the ants compete with the page for its cores. A move counts from the pointer's event to the end of
the drawing; the age of a trail from the kernel's clock to its drawing.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS / "browser"))

from editor_story import EditorPage  # noqa: E402
from lab import open_lab  # noqa: E402

CELL = f"""import sys
sys.path.insert(0, {str(TESTS / "browser")!r})
from types import SimpleNamespace
from llmdist.bench.large_problem import large_problem
from llmdist.planner import MaxIterations, solve
from llmdist_widgets.editor import PlacementEditor
plan = solve(large_problem(), stop=MaxIterations(1))  # the ants need more than the seconds that they are given
editor = PlacementEditor(SimpleNamespace(plan_result=plan, generating=False))
editor.show()"""

PROBE = """() => { const e = document.querySelector('.llp').parentElement.placementEditor;
  window.lags = []; window.ages = []; window.predictions = [];
  let began = 0; const draw = e.draw.bind(e);
  e.part.grid.addEventListener('pointermove', (event) => { began = began || event.timeStamp; }, true);
  e.draw = () => { const sent = e.model.get('search').sent; draw(); window.predictions.push(e.lastPredictMs);
    if (began) { window.lags.push(performance.now() - began); began = 0; }
    if (sent && sent !== window.lastSent) window.ages.push(Date.now() - 1000 * (window.lastSent = sent)); }; }"""


def words(name: str, values: list[float]) -> str:
    """Return one line: how many, median, 95 %, worst."""
    ordered = sorted(values)
    high = ordered[int(0.95 * (len(ordered) - 1))]
    return f"{name:44} {len(values):5} {median(values):9.2f} {high:9.2f} {ordered[-1]:9.2f}"


def strokes(page: EditorPage, count: int) -> None:
    """Drag over the columns without a drop, again and again."""
    start, end = page.cell("cpu", "layers.0.mlp"), page.cell("cpu", "layers.24.mlp")
    page.page.mouse.move(*start)
    page.page.mouse.down()
    for index in range(count):
        page.page.mouse.move(*(end if index % 2 == 0 else start), steps=25)
    page.page.keyboard.press("Escape")
    page.page.mouse.up()


def measured(page: EditorPage, name: str) -> Any:
    """Return and clear what the probe collected."""
    return page.page.evaluate(f"() => {{ const v = window.{name}; window.{name} = []; return v; }}")


def main() -> None:
    """Measure and print."""
    notebook = new_notebook(cells=[new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(notebook, Path(folder) / "lag.ipynb")
        with open_lab(Path(folder), "lag.ipynb") as lab:
            lab.wait_for_kernel()
            page = EditorPage(lab)
            page.run_cell(0)
            page.wait_for("e.prediction")
            page.page.evaluate(PROBE)
            print(f"{'milliseconds':44} {'count':>5} {'median':>9} {'95 %':>9} {'worst':>9}")
            strokes(page, 16)
            print(words("move to drawn, kernel idle", measured(page, "lags")))
            print(words("  of it prediction", measured(page, "predictions")))
            for _ in range(3):
                page.editor("e.send({ do: 'replan', seconds: 8 })")
                page.wait_for("e.model.get('state').searching")
                strokes(page, 6)
                assert page.editor("e.model.get('state').searching"), "the ants ended before the strokes did"
                page.wait_for("!e.model.get('state').searching", 60)
            print(words("move to drawn, ants running", measured(page, "lags")))
            print(words("  of it prediction", measured(page, "predictions")))
            print(words("age of a trail when drawn, ants running", measured(page, "ages")))
            assert lab.console_errors == []


if __name__ == "__main__":
    main()
