"""The main job in a real JupyterLab: ants moving in a busy cell, tokens streaming, stopped by hand, reopened bare."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from lab import CHROMIUM, Lab, open_lab, serious_findings, write_notebook

from llmdist.bench.large_problem import large_problem

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
PROMPT = "One day Anna the ant walked to the"
#: Tokens that are slowed by hand must teach the prices nothing.
CELLS = [
    "%load_ext llmdist\n%config LLMDist.calibrate = False\n%llm_load demo\nllm.plan(context=256, seconds=0.2)\n"
    f"fresh = [s.token_id for s in llm.generate({PROMPT!r}, max_new_tokens=24)]; print('ready', len(fresh))",
    "import json; from llmdist.planner import PlanningProblem; from llmdist_widgets.live import watch\n"
    "found = watch(PlanningProblem.from_json(json.load(open('large.json'))), seconds=15)",
    "%llm_plan --ram 7MiB --context 500 --seconds 1.5",
    # every token waits a little and the story has no end, so that a slow person could press Stop half-way
    "object.__setattr__(llm.checkpoint.config, 'eos_token_ids', ())\n"
    "between = llm._between\nllm._between = lambda: (__import__('time').sleep(0.15), between())[1]\n"
    f"%llm_generate --max-new-tokens 400 --temperature 1 --seed 4 {PROMPT}",
    "print('kept', llm.stats.finish_reason, 10 < llm.stats.tokens < 390, len(llm.text) > 20)",
    f"%llm_generate --max-new-tokens 400 --temperature 1 --seed 4 {PROMPT}",
    "print('kept again', llm.stats.finish_reason, 10 < llm.stats.tokens < 390, len(llm.text) > 20)\n"
    "llm._between = between",
    f"again = [s.token_id for s in llm.generate({PROMPT!r}, max_new_tokens=24)]; print('same', again == fresh)",
    "%llm_plan --pareto --ram 7MiB --context 256 --seconds 1.5",
    "%llm_status",
    "print('picked', llm.front.number_of(llm.plan_result))",
]
CANVAS = (
    "() => [...document.querySelectorAll('.llmdist-live')]"
    ".filter(v => v.querySelector('canvas') && v.offsetHeight > 100)"
)


def pixels(lab: Lab) -> str:
    """Return the first canvas of the live view as data, a fingerprint of what is drawn."""
    return str(lab.page.evaluate(f"() => ({CANVAS})()[0].querySelector('canvas').toDataURL()"))


def wait_for_change(lab: Lab, before: str) -> None:
    """Wait until the first canvas of the live view is drawn anew; a view paces itself by what drawing takes."""
    drawn = f"({CANVAS})()[0].querySelector('canvas').toDataURL()"
    lab.page.wait_for_function(f"before => {drawn} !== before", arg=before, timeout=30_000, polling=200)


def busy(lab: Lab, index: int) -> bool:
    """Return whether a cell is running; the kernel's own status reads idle after a message on the side."""
    return lab.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-InputPrompt").inner_text() == "[*]:"


def pictures_folder(tmp_path: Path) -> Path:
    """Return where screenshots go: the test's folder, or the one that LLMDIST_PICTURES names."""
    return Path(os.environ.get("LLMDIST_PICTURES", tmp_path))


def in_the_dark(lab: Lab, picture: Path, index: int) -> None:
    """Change a view that moves to the dark theme: axe-core finds nothing serious there either."""
    before = pixels(lab)
    lab.theme("JupyterLab Dark")
    wait_for_change(lab, before)
    assert serious_findings(lab.page, ".llmdist-live") == []
    lab.picture(picture, index)
    lab.theme("JupyterLab Light")


def watch_the_ants(lab: Lab, pictures: Path) -> None:
    """The plan view's canvas exists and changes while the cell is busy."""
    lab.run_cell(1)
    lab.show_view(1)
    wait_for_change(lab, pixels(lab))
    assert busy(lab, 1)
    lab.picture(pictures / "plan-live.png", 1)
    assert serious_findings(lab.page, ".llmdist-live") == []
    in_the_dark(lab, pictures / "plan-live-dark.png", 1)
    lab.wait_for_cell(1)


def stop_half_way(lab: Lab, index: int, pictures: Path, by_view: bool) -> None:
    """Tokens stream in the view; then its Stop button, or the notebook's own, ends the generation."""
    lab.run_cell(index)
    lab.show_view(2)
    assert busy(lab, index)
    wait_for_change(lab, pixels(lab))
    assert len(lab.page.locator(".llmdist-live [role=log]").inner_text()) > 20
    began = time.monotonic()
    if by_view:
        lab.picture(pictures / "generation-live.png", index)
        assert serious_findings(lab.page, ".llmdist-live") == []
        in_the_dark(lab, pictures / "generation-live-dark.png", index)
        began = time.monotonic()
        lab.page.locator(".llmdist-live button").click()
    else:
        lab.command("kernelmenu:interrupt")
    lab.wait_for_cell(index, 30)
    assert time.monotonic() - began < 20  # 400 slow tokens would take longer: it was stopped
    lab.picture(pictures / "generation-stopped.png", index)


def pick_from_the_front(lab: Lab, pictures: Path) -> None:
    """A click on a point of the front puts that plan in force; in light and dark axe-core finds nothing serious."""
    for index in (8, 9):
        lab.run_cell(index)
        lab.wait_for_cell(index)
    point = lab.page.locator(".llf svg [data-plan='1']").first
    point.click()
    lab.wait_for_front("Plan 1 is in force")
    lab.run_cell(10)
    lab.wait_for_text("picked 1")
    lab.picture(pictures / "front.png", 8)
    lab.picture(pictures / "status.png", 9)
    assert serious_findings(lab.page, ".jp-OutputArea-output") == []
    lab.theme("JupyterLab Dark")
    shade = "getComputedStyle(document.querySelector('.llf > div > div').shadowRoot.querySelector('.bg')).fill"
    lab.page.wait_for_function(f"() => {shade} === 'rgb(22, 27, 34)'")  # the picture follows the theme
    assert serious_findings(lab.page, ".jp-OutputArea-output") == []
    lab.picture(pictures / "front-dark.png", 8)


def test_plan_generate_stop_save_reopen(tmp_path: Path) -> None:
    """Both views move in a busy cell, both ways to stop keep the text, the next run is a fresh one's, pictures last."""
    pictures = pictures_folder(tmp_path)
    (tmp_path / "large.json").write_text(json.dumps(large_problem().to_json()))
    write_notebook(tmp_path / "job.ipynb", CELLS)
    with open_lab(tmp_path, "job.ipynb") as lab:
        lab.wait_for_kernel()
        lab.run_cell(0)
        lab.wait_for_text("ready 24", 120)
        watch_the_ants(lab, pictures)
        lab.run_cell(2)
        lab.wait_for_cell(2)
        stop_half_way(lab, 3, pictures, by_view=True)
        lab.run_cell(4)
        lab.wait_for_text("kept interrupted True True")
        stop_half_way(lab, 5, pictures, by_view=False)
        lab.run_cell(6)
        lab.wait_for_text("kept again interrupted True True")
        lab.run_cell(7)
        lab.wait_for_text("same True")
        lab.picture(pictures / "plan-done.png", 1)
        pick_from_the_front(lab, pictures)
        lab.save()
        assert lab.console_errors == []
    check_the_file(tmp_path / "job.ipynb")
    reopen(tmp_path, pictures)


def check_the_file(path: Path) -> None:
    """No cell failed, and each view left text and pictures of at most 60 KB in the file."""
    cells = json.loads(path.read_text())["cells"]
    assert not any(output["output_type"] == "error" for cell in cells for output in cell["outputs"])
    for index in (1, 2, 3, 5):
        bundles = [o["data"] for o in cells[index]["outputs"] if "text/html" in o.get("data", {})]
        assert len(bundles) == 1 and bundles[0]["text/plain"]
        html = "".join(bundles[0]["text/html"])
        assert html.count("data:image/svg+xml;base64,") >= 2 and len(html) <= 60_000, len(html)


def reopen(folder: Path, pictures: Path) -> None:
    """Opened untrusted, with its kernel never started, the file shows its pictures and runs no script."""
    notebook = json.loads((folder / "job.ipynb").read_text())
    notebook["metadata"]["kernelspec"]["name"] = "no-such-kernel"
    (folder / "bare").mkdir()
    (folder / "bare" / "bare.ipynb").write_text(json.dumps(notebook))
    for app in ("notebook", "lab"):
        look_at_the_bare_file(folder / "bare", pictures, app)


def look_at_the_bare_file(folder: Path, pictures: Path, app: str) -> None:
    """Pictures are there, scripts are not, the front's copy unfolds, and the console is quiet."""
    with open_lab(folder, "bare.ipynb", app=app) as lab:
        lab.page.wait_for_function("() => document.querySelectorAll('.jp-OutputArea-output img').length >= 8")
        shown = lab.page.evaluate(
            "() => [...document.querySelectorAll('.jp-OutputArea-output img')].map(i => i.naturalWidth)"
        )
        assert all(width > 0 for width in shown)
        assert lab.page.locator(".jp-OutputArea-output canvas").count() == 0
        lab.page.keyboard.press("Escape")
        lab.picture(pictures / "reopened.png")
        copy = lab.page.locator(".jp-Notebook .jp-Cell").nth(8).locator("details")
        copy.locator("summary").click()
        assert copy.locator("img").is_visible() and copy.locator("tbody tr").count() > 1
        assert " object at 0x" not in lab.cell(8).inner_text()
        lab.picture(pictures / "front-reopened.png", 8)
        assert lab.console_errors == []
