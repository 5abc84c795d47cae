"""The editor in a bare page: the real modules and tables, a model that only records what is sent."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from llmdist.hardware import Link
from llmdist.planner import PlanResult, evaluate
from llmdist_widgets.editor import PlacementEditor
from llmdist_widgets.editor_view import STATIC, bundle

sys.path.insert(0, str(Path(__file__).parents[1] / "widgets"))
sys.path.insert(0, str(Path(__file__).parent))
from lab import _FLAGS, CHROMIUM
from synthetic import make_plan

__all__ = ["big_plan", "drag", "open_page", "page_html"]

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Placement editor</title><style>
body{margin:0;padding:12px;background:var(--jp-layout-color0)}:root{--jp-layout-color0:#fff}
[data-jp-theme-light=false]{--jp-layout-color0:#111;--jp-layout-color2:#2b2f33;--jp-content-font-color1:#fffffff2;
--jp-content-font-color2:#ffffffb3;--jp-border-color1:#616161;color-scheme:dark}%s</style></head>
<body data-jp-theme-light="%s"><h1 hidden>editor</h1><main id="here"></main><script type="module">
%s
const data = %s, handlers = {};
window.sent = [];
window.model = { get: (name) => data[name], on: (name, work) => { (handlers[name] ||= []).push(work); }, off: () => {},
  send: (message) => window.sent.push(message),
  set: (name, value) => { data[name] = value; (handlers["change:" + name] || []).forEach((work) => work()); } };
data.trail = Uint8Array.from(data.trail);
render({ model: window.model, el: document.getElementById("here") });
window.editor = document.getElementById("here").placementEditor;
</script></body></html>"""


def big_plan(layers: int = 80) -> PlanResult:
    """Return a made-up plan of 2 x layers + 2 blocks with 15 options each and a trail."""
    plan, _ = make_plan(layers)
    links = (*plan.problem.links, Link("cuda:0", "cpu", 2e10, 1e-5))
    caps = {"cuda:0": 2**28, "cpu": 2**29}
    problem = replace(plan.problem, precisions=("bf16", "int8", "int4"), links=links, caps=caps)
    found = evaluate(problem, plan.placement)
    seconds = found.tpot_seconds
    return replace(
        plan, problem=problem, trail=(), prediction=found, objective_seconds=seconds, bound_seconds=0.9 * seconds
    )


def page_html(plan: PlanResult, dark: bool = False) -> str:
    """Return the page of an editor over `plan`."""
    session: Any = SimpleNamespace(plan_result=plan, generating=False)
    editor = PlacementEditor(session)
    width = editor.tables.shape[1]
    chosen = enumerate(editor.draft.now.choice)
    trail = [255 if k == choice else (b * 7 + k * 29) % 90 for b, choice in chosen for k in range(width)]
    data = {
        "tables": {**editor.packed, "version": 1},
        "state": {
            "version": 1, "ack": 0, "choice": list(editor.draft.now.choice), "locked": [5, 6], "undo": False,
            "redo": False, "base": list(editor.draft.now.choice), "searching": False, "compare": None, "why": {},
            "note": {"text": "", "failed": False, "number": 0},
        },
        "search": {}, "measured": 0.0, "trail": trail,
    }  # fmt: skip
    css = (STATIC / "editor.css").read_text()
    script = bundle().replace("export default { render };", "")
    return _PAGE % (css, "false" if dark else "true", script, json.dumps(data))


@contextmanager
def open_page(html: str, folder: Path, width: int = 1280) -> Iterator[Any]:
    """Open `html` in Chromium; a console error ends in a failure."""
    from playwright.sync_api import sync_playwright

    (folder / "editor.html").write_text(html)
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        page = browser.new_page(viewport={"width": width, "height": 1000})
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((folder / "editor.html").as_uri())
        page.wait_for_selector(".llp-cell")
        yield page
        browser.close()
    assert errors == []


def drag(page: Any, device: int, first: int, last: int, drop: bool = True) -> None:
    """Paint blocks first..last onto a device's row with the pointer."""
    middle = "([d, b]) => { const r = window.editor.grid.cells[d][b].getBoundingClientRect();"
    middle += " return [r.x + r.width / 2, r.y + r.height / 2]; }"
    page.mouse.move(*page.evaluate(middle, [device, first]))
    page.mouse.down()
    page.mouse.move(*page.evaluate(middle, [device, last]), steps=6)
    if drop:
        page.mouse.up()
