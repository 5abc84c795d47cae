"""Lessons in a real JupyterLab: a clean copy, *Restart Kernel and Run All Cells*, and nothing that frightens a student.

Two short ones by default; LLMDIST_LESSONS names others by the beginning of their file names: ``LLMDIST_LESSONS=all``,
``LLMDIST_LESSONS=lesson4,lesson8``. LLMDIST_PICTURES keeps a screenshot of every cell that shows a picture.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from lab import CHROMIUM, Lab, chromium_page, open_lab

pytestmark = [
    pytest.mark.browser, pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]  # fmt: skip
TUTORIALS = Path(__file__).parents[2] / "tutorials"
ASKED = os.environ.get("LLMDIST_LESSONS", "lesson1,lesson5")
NAMES = [
    path.name for path in sorted(TUTORIALS.glob("*.ipynb"))
    if ASKED == "all" or path.name.startswith(tuple(ASKED.split(",")))
]  # fmt: skip
_ALL_DONE = """() => {
    const cells = window.jupyterapp.shell.currentWidget.content.widgets.filter(c => c.model.type === 'code');
    return cells.every(c => typeof c.model.sharedModel.execution_count === 'number'
                            && c.model.sharedModel.executionState !== 'running')
        || cells.some(c => c.model.outputs.toJSON().some(o => o.output_type === 'error')); }"""
_OUTPUTS = """() => window.jupyterapp.shell.currentWidget.content.widgets
    .map((c, index) => [index, c.model.type === 'code' ? c.model.outputs.toJSON() : []])"""
_BROKEN = """() => [...document.images]
    .filter(i => i.complete && !i.naturalWidth).map(i => i.outerHTML.slice(0, 120))"""
_SIDEWAYS = """() => [...document.querySelectorAll('.jp-OutputArea-output')]
    .filter(o => o.scrollWidth > o.clientWidth + 2).map(o => o.innerText.slice(0, 120))"""


def clean_copy(name: str, folder: Path) -> None:
    """Write a notebook without outputs into `folder`."""
    notebook = nbformat.read(TUTORIALS / name, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, folder / name)


def restart_and_run_all(lab: Lab, seconds: float = 180) -> float:
    """Choose the menu's entry, confirm it, wait for the last cell; returns the seconds that took."""
    lab.wait_for_kernel()
    lab.command("runmenu:restart-and-run-all")
    lab.page.locator(".jp-Dialog .jp-mod-accept").click()
    began = time.monotonic()
    lab.page.wait_for_function(_ALL_DONE, timeout=1000 * seconds)
    return time.monotonic() - began


def keep_pictures(lab: Lab, stem: str, cells: list[int]) -> None:
    """Take screenshots of `cells` where LLMDIST_PICTURES asks for them."""
    folder = os.environ.get("LLMDIST_PICTURES")
    if folder:
        for index in cells:
            lab.picture(Path(folder) / f"{stem}-{index}.png", index)


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_runs_from_a_clean_copy(tmp_path: Path, name: str) -> None:
    """No error, no warning, no broken picture, nothing that scrolls sideways, and a quiet console."""
    clean_copy(name, tmp_path)
    with open_lab(tmp_path, name) as lab:
        seconds = restart_and_run_all(lab)
        lab.page.wait_for_timeout(500)
        outputs = lab.page.evaluate(_OUTPUTS)
        print(f"{name}: {seconds:.1f} s")
        kept = [i for i, many in outputs if any("<img" in str(o.get("data", {}).get("text/html")) for o in many)]
        keep_pictures(lab, Path(name).stem, kept)
        loud = [(i, o) for i, many in outputs for o in many if o["output_type"] == "error" or o.get("name") == "stderr"]
        assert loud == []
        assert lab.page.evaluate(_BROKEN) == []
        assert lab.page.evaluate(_SIDEWAYS) == []
        assert lab.console_errors == []


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_lesson_is_readable_without_kernel_or_network(tmp_path: Path, name: str) -> None:
    """As a web page opened offline it shows every picture that a cell has, and nothing is wider than the page."""
    from nbconvert import HTMLExporter

    notebook = nbformat.read(TUTORIALS / name, as_version=4)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = sum("<img" in output.get("data", {}).get("text/html", "") for output in outputs)
    page_file = tmp_path / f"{Path(name).stem}.html"
    page_file.write_text(HTMLExporter().from_notebook_node(notebook)[0])
    with chromium_page() as page:
        page.context.set_offline(True)
        page.goto(page_file.as_uri(), wait_until="domcontentloaded")
        page.wait_for_function("() => [...document.images].every(i => i.complete)")
        assert page.evaluate(_BROKEN) == []
        assert page.evaluate("() => document.images.length") >= pictures > 0
        width = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0
