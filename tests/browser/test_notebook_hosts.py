"""The views elsewhere: Notebook 7 in the dark, an exported page without a network; axe-core finds nothing serious."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "widgets"))
from lab import CHROMIUM, chromium_page, open_lab, serious_findings, write_notebook
from synthetic import GIB, make_generation, make_plan

from llmdist.hardware.profile import HardwareProfile
from llmdist_widgets import machine_svg, write_report
from llmdist_widgets.svg import image

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
#: Tokens that are slowed by hand must teach the prices nothing.
CELLS = [
    "%load_ext llmdist\n%config LLMDist.calibrate = False\n%llm_load demo",
    "%llm_plan --ram 7MiB --context 500 --seconds 0.5",
    "between = llm._between\nllm._between = lambda: (__import__('time').sleep(0.05), between())[1]\n"
    "job = %llm_generate --background --max-new-tokens 400 --temperature 1 --seed 4 One day Anna the ant walked to the",
    "print('meanwhile', job.running)",
    "print('ended', llm.stats.finish_reason, len(job.wait(30)) > 20, job.poll())",
    "%llm_plan --pareto --ram 9MiB --context 256 --seconds 1",
    "%llm_plan --context 64 --batch 2 --seconds 0.3 -q",
    "%%llm_generate --batch --max-new-tokens 40\nOne day Anna the ant\nThe ants walked to the",
]


def pictures_folder(tmp_path: Path) -> Path:
    """Return where screenshots go: the test's folder, or the one that LLMDIST_PICTURES names."""
    return Path(os.environ.get("LLMDIST_PICTURES", tmp_path))


def test_notebook_7_in_the_dark(tmp_path: Path) -> None:
    """A generation in the background moves its view after the cell ended, is stopped by its button, and stays."""
    write_notebook(tmp_path / "job.ipynb", CELLS)
    with open_lab(tmp_path, "job.ipynb", app="notebook", theme="JupyterLab Dark") as lab:
        lab.wait_for_kernel()
        for index in (0, 1, 2, 3):
            lab.run_cell(index)
        lab.wait_for_text("meanwhile True", 120)
        lab.show_view(2)
        view = lab.page.locator(".llmdist-live")
        before = view.locator("canvas").first.evaluate("canvas => canvas.toDataURL()")
        lab.page.wait_for_function(
            "before => document.querySelector('.llmdist-live canvas').toDataURL() !== before", arg=before, polling=200
        )
        assert serious_findings(lab.page, ".llmdist-live") == []
        lab.picture(pictures_folder(tmp_path) / "generation-dark.png", 2)
        view.locator("button").click()
        lab.run_cell(4)
        lab.wait_for_text("ended interrupted True generation ended: interrupted")
        lab.page.wait_for_function("() => document.querySelectorAll('.jp-OutputArea-output img').length >= 4")
        for index in (5, 6, 7):
            lab.run_cell(index)
        lab.wait_for_text("tokens/s in all, first after", 90)
        lab.page.locator(".llf svg [data-plan]").first.wait_for()
        assert serious_findings(lab.page, ".jp-OutputArea-output") == []
        lab.picture(pictures_folder(tmp_path) / "front-notebook-dark.png", 5)
        lab.picture(pictures_folder(tmp_path) / "batch-dark.png", 7)
        lab.picture(pictures_folder(tmp_path) / "status-and-plan-dark.png", 0)
        assert lab.console_errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_exported_page_moves_with_the_network_off(tmp_path: Path, scheme: str) -> None:
    """Opened from a file without a network, the slider walks through the search and the timeline names its spans."""
    plan, events = make_plan(40)
    text, generation = make_generation(plan)
    hardware = HardwareProfile("example", plan.problem.devices, plan.problem.links, "2026-11-25", "simulated")
    machine = image(machine_svg(hardware, plan.prediction.peak_bytes, {"cuda:0": 6 * GIB, "cpu": 48 * GIB}), "machine")
    path = write_report(tmp_path / "page.html", plan, events, generation, text, machine=machine)
    with chromium_page(color_scheme=scheme) as page:
        heard: list[str] = []
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.context.set_offline(True)
        page.goto(path.as_uri())
        slider = page.locator("input[type=range]")
        last = page.locator("canvas").first.evaluate("canvas => canvas.toDataURL()")
        slider.evaluate("slider => { slider.value = 3; slider.dispatchEvent(new Event('input')); }")
        assert page.locator("canvas").first.evaluate("canvas => canvas.toDataURL()") != last
        assert "iteration 4" in slider.get_attribute("aria-valuetext")
        timeline = page.locator("canvas[tabindex='0']")
        timeline.focus()
        page.keyboard.press("ArrowRight")
        assert "compute on" in page.locator("[aria-live]").inner_text()
        assert serious_findings(page, "main") == []
        page.screenshot(path=str(pictures_folder(tmp_path) / f"page-offline-{scheme}.png"), full_page=True)
        assert heard == []
