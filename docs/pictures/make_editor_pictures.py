"""Makes editor*.png: the placement editor in JupyterLab (over a cap, re-planned, dark) and at 80 layers."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "browser"))

from editor_page import big_plan, drag, open_page, page_html  # noqa: E402
from editor_story import EditorPage, write_notebook  # noqa: E402
from lab import open_lab  # noqa: E402


def notebook_pictures() -> None:
    """Paint over the cap, then lock and send the ants, then go dark."""
    with tempfile.TemporaryDirectory() as folder:
        write_notebook(Path(folder))
        with open_lab(Path(folder), "editor.ipynb") as lab:
            lab.wait_for_kernel()
            page = EditorPage(lab)
            for index in range(3):
                page.run_cell(index)
            page.wait_for("e.prediction")
            panel = lab.page.locator(".llp")
            page.drag("cpu", "layers.2.attention", "layers.5.mlp")
            page.settled()
            lab.page.wait_for_timeout(800)
            panel.screenshot(path=str(HERE / "editor_over.png"))
            page.page.keyboard.press("u")
            page.drag("cpu", "layers.6.mlp", "layers.6.mlp")
            page.page.keyboard.press("l")
            page.click("Re-plan around locks")
            page.wait_for("e.model.get('state').note.text.includes('locked block')")
            lab.page.mouse.move(0, 0)
            lab.page.wait_for_timeout(800)
            panel.screenshot(path=str(HERE / "editor.png"))
            page.dark(True)
            lab.page.wait_for_timeout(500)
            panel.screenshot(path=str(HERE / "editor_dark.png"))


def big_picture() -> None:
    """162 blocks under a drag, as wide as a notebook's output on a 1280 pixel screen."""
    with tempfile.TemporaryDirectory() as folder, open_page(page_html(big_plan()), Path(folder), width=1000) as page:
        drag(page, 1, 90, 118, drop=False)
        page.wait_for_timeout(300)
        page.locator(".llp").screenshot(path=str(HERE / "editor_80_layers.png"))


if __name__ == "__main__":
    notebook_pictures()
    big_picture()
