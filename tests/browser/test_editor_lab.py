"""The editor in a real JupyterLab: paint, undo, lock, re-plan, apply during a generation, dark, save."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from editor_story import EditorPage, write_notebook
from lab import CHROMIUM, open_lab

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


def test_paint_undo_lock_replan_and_apply_while_tokens_come(tmp_path: Path) -> None:
    """Every step shows in the browser and in the kernel; the saved file keeps a picture; no console error."""
    write_notebook(tmp_path)
    with open_lab(tmp_path, "editor.ipynb") as lab:
        lab.wait_for_kernel()
        page = EditorPage(lab)
        for index in range(3):
            page.run_cell(index)
        page.wait_for("e.prediction")
        planned = page.homes()
        assert planned == ["cpu"] + ["disk"] * 7
        page.drag("disk", "layers.0.attention", "layers.3.mlp")
        assert page.homes() == ["disk"] * 8
        page.settled()
        page.page.keyboard.press("u")
        assert page.homes() == planned
        page.page.keyboard.press("Shift+U")
        assert page.homes() == ["disk"] * 8
        page.page.keyboard.press("l")  # the drag left its range selected
        assert page.editor("e.state.locked.size") == 8
        page.page.keyboard.press("d")  # twice d would delete a cell if the notebook saw it
        page.page.keyboard.press("d")
        page.settled()
        page.click("Re-plan around locks")
        page.wait_for("e.model.get('state').note.text.includes('kept 8 locked')")
        assert page.homes()[:4] == ["disk"] * 4 and page.editor("e.prediction.fits")
        page.run_cell(3, wait=False)
        page.wait_for("e.model.get('measured') > 0", 60)
        page.click("Apply")
        page.wait_for("e.model.get('state').note.text.includes('Applied')")
        page.wait_for_more_text(3, 20)
        lab.command("notebook:interrupt-kernel")  # however slow this machine is, the story goes on
        lab.wait_for_text("Stopped after")
        for index in (4, 5):
            page.run_cell(index)
        lab.wait_for_text("changed between two tokens: True")
        lab.wait_for_text("locked: layers.0.attention layers.0.mlp")
        page.dark(True)
        assert page.editor("getComputedStyle(e.root).color") != "rgb(27, 31, 36)"
        lab.page.wait_for_timeout(1000)
        lab.command("docmanager:save")
        lab.page.wait_for_timeout(1500)
        assert lab.console_errors == []
    saved = json.loads((tmp_path / "editor.ipynb").read_text())
    assert len(saved["cells"]) == 6
    outputs = json.dumps(saved["cells"][2]["outputs"])
    assert "data:image/svg+xml;base64," in outputs and "tokens/s" in outputs and len(outputs) < 60_000
