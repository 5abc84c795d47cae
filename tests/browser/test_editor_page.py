"""The editor in a bare Chromium page at 80 layers: pointer, keys, late kernel, contrast and roles."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from editor_page import big_plan, drag, open_page, page_html
from lab import CHROMIUM, serious_findings

from llmdist.planner import plan_for
from llmdist.planner.placement import Assignment

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
GPU, CPU, DISK = 0, 1, 2


@pytest.fixture(scope="module")
def html() -> str:
    """The page of 162 blocks with 15 options each."""
    return page_html(big_plan())


def test_figures_change_under_the_finger_and_clicks_are_sent_in_order(html, tmp_path):
    """While dragging the prediction moves and nothing is sent; a drop sends one message, undo another."""
    with open_page(html, tmp_path) as page:
        assert page.locator(".llp-cell").count() == 3 * 162
        before = page.evaluate("window.editor.prediction.tokensPerSecond")
        assert "OVER" in page.locator(".llp-memory").inner_text()
        drag(page, CPU, 20, 60, drop=False)
        page.wait_for_timeout(100)
        assert page.evaluate("window.editor.prediction.tokensPerSecond") != before
        assert page.evaluate("window.sent.filter((m) => m.do === 'set').length") == 0
        page.mouse.up()
        page.wait_for_timeout(100)
        assert "fits" in page.locator(".llp-figures").inner_text()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("u")
        sent = page.evaluate("window.sent.filter((m) => m.do !== 'why')")
        assert [m["do"] for m in sent] == ["set", "undo"] and [m["seq"] for m in sent] == [1, 2]
        assert len(sent[0]["changes"]) == 41
        page.wait_for_function("(before) => window.editor.prediction.tokensPerSecond === before", arg=before)


def test_changes_survive_a_late_kernel_and_its_word_is_final(html, tmp_path):
    """An old confirmation does not take newer clicks back; once all are seen the kernel's draft is shown."""
    with open_page(html, tmp_path) as page:
        drag(page, DISK, 10, 10)
        drag(page, DISK, 12, 12)
        shown = page.evaluate("window.editor.state.choice")
        answer = "(a) => window.model.set('state', { ...window.model.get('state'), ...a })"
        page.evaluate(answer, {"ack": 1, "choice": page.evaluate("window.model.get('state').choice")})
        assert page.evaluate("window.editor.state.choice") == shown
        final = [*shown[:-1], 0]
        page.evaluate(answer, {"ack": 2, "choice": final})
        assert page.evaluate("window.editor.state.choice") == final


def test_labels_of_a_screen_reader_follow(html, tmp_path):
    """Cells and headers have full names, one cell is in the tab order, and a move is announced with figures."""
    with open_page(html, tmp_path) as page:
        assert page.get_by_role("columnheader", name="layers.79.mlp").count() == 1
        assert page.get_by_role("rowheader", name="cuda:0").count() >= 1
        page.keyboard.press("Tab")
        for _ in range(12):
            if page.evaluate("document.activeElement.classList.contains('llp-cell')"):
                break
            page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("c")
        assert page.locator(".llp-cell[tabindex='0']").count() == 1
        said = page.locator("[aria-live]").inner_text()
        assert said.startswith("2 blocks, layers.0.attention to layers.0.mlp: to cpu.") and "tokens/s" in said
        page.wait_for_timeout(100)
        assert page.get_by_role("gridcell", name="layers.0.mlp on cpu: rests and computes here, bf16").count() == 1


def axe(folder: Path) -> str:
    """Return axe-core's script, or skip where npm or the network is missing."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm to fetch axe-core")
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), "axe-core@4"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=90)
    except (subprocess.SubprocessError, OSError):
        pytest.skip("axe-core could not be fetched from npm")
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(tmp_path, dark):
    """Roles, names, focus and contrast hold in light and dark, with help and comparison open."""
    script = axe(tmp_path)
    with open_page(page_html(big_plan(8), dark), tmp_path) as page:
        page.evaluate("(s) => { window.editor.help(true); const k = window.model.get('state');"
                      " window.model.set('state', { ...k, compare: { name: 'other', choice: k.choice } }); }", "")
        drag(page, CPU, 3, 5)
        page.mouse.move(0, 0)
        page.wait_for_timeout(200)
        page.evaluate(script)
        found = page.evaluate("async () => (await axe.run('#here')).violations")
        serious = [(v["id"], v["nodes"][0]["html"][:160]) for v in found if v["impact"] in ("serious", "critical")]
        assert serious == []


def test_a_split_block_shows_in_both_rows_and_says_its_shares(tmp_path):
    """The CPU's chip is as high as its part; the reader hears who computes how much; axe-core finds nothing serious."""
    found = plan_for("llama-2-13b", "rtx4090", precision="bf16", context=512, seconds=0.3)
    moved = {"layers.0.mlp": Assignment("cuda:0", "cuda:0", "bf16", 4)}
    plan = replace(found, placement=found.placement.moved(moved))
    block = plan.placement.blocks.index("layers.0.mlp")
    with open_page(page_html(plan, dark=True), tmp_path) as page:
        cell = "([d, b]) => window.editor.grid.cells[d][b]"
        words = page.evaluate(f"at => ({cell})(at).getAttribute('aria-label')", [CPU, block])
        assert words == "layers.0.mlp on cpu: split, cuda:0 computes 4/8, cpu 4/8, bf16"
        height = f"at => ({cell})(at).firstChild.offsetHeight"
        own, other = (page.evaluate(height, [device, block]) for device in (GPU, CPU))
        assert 0.4 < other / own < 0.6
        assert serious_findings(page, "main") == []
