"""The editor as a person uses it in JupyterLab: the story of the browser test and of the pictures in docs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

sys.path.insert(0, str(Path(__file__).parent))
from lab import Lab

__all__ = ["CELLS", "EditorPage", "write_notebook"]

CELLS = [
    "%load_ext llmdist\n%llm_load demo",
    "%llm_plan --ram 7.7MiB --context 512 --seconds 1 -q\n"
    "%llm_place -q all disk\n%llm_place -q layers.0 cpu\n%llm_place -q apply",
    "%llm_place",
    "%llm_generate --max-new-tokens 480 -q One day Anna the ant walked to the",
    "from llmdist.events import PlacementChanged, TokenProduced\n"
    "kinds = [type(e).__name__ for e in llm.recorder.events if isinstance(e, (PlacementChanged, TokenProduced))]\n"
    "at = kinds.index('PlacementChanged')\n"
    "print('changed between two tokens:', 0 < at < len(kinds) - 1, len(kinds), at)",
    "editor = %llm_place -o -q\n"
    "print('homes:', *[editor.placement[f'layers.{i}.mlp'].home_device for i in range(8)], 'locked:', *editor.locked)",
]


def write_notebook(folder: Path, name: str = "editor.ipynb") -> None:
    """Write the story's cells as a notebook."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / name)
_FIND = "const n = document.querySelector('.llp'); const e = n && n.parentElement.placementEditor;"


class EditorPage:
    """The editor in an open lab, handled by pointer and keys."""

    def __init__(self, lab: Lab, picture: Callable[[str], Any] = lambda name: None) -> None:
        self.lab, self.page, self.picture = lab, lab.page, picture

    def run_cell(self, index: int, wait: bool = True) -> None:
        """Run a cell; a click into the editor has made its own cell the active one."""
        self.page.evaluate("i => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = i; }", index)
        run = "window.jupyterapp.commands.execute('notebook:run-cell')"
        self.page.evaluate(f"async () => {{ await {run}; }}" if wait else f"() => {{ {run}; }}")

    def editor(self, expression: str) -> Any:
        """Return a JavaScript expression over ``e``, the editor."""
        return self.page.evaluate(f"() => {{ {_FIND} return {expression}; }}")

    def wait_for(self, expression: str, seconds: float = 30) -> None:
        """Wait until an expression over ``e`` is true."""
        self.page.wait_for_function(f"() => {{ {_FIND} return e && ({expression}); }}", timeout=seconds * 1000)

    def wait_for_more_text(self, index: int, characters: int) -> None:
        """Wait until a cell has printed so much more than now."""
        length = "document.querySelectorAll('.jp-Notebook .jp-Cell')[i].innerText.length"
        before = self.page.evaluate(f"i => {length}", index)
        wait = f"([i, n]) => {length} > n"
        self.page.wait_for_function(wait, arg=[index, before + characters], timeout=90_000)

    def settled(self) -> None:
        """Wait until the kernel confirmed every change."""
        self.wait_for("e.model.get('state').ack === e.state.seq")

    def block(self, name: str) -> int:
        """Return a block's column."""
        return int(self.editor(f"e.t.blocks.indexOf('{name}')"))

    def cell(self, device: str, block: str) -> tuple[float, float]:
        """Return the middle of a cell on the screen."""
        x, y = self.editor(
            f"(() => {{ const row = e.t.devices.findIndex((d) => d.name === '{device}');"
            f" const c = e.grid.cells[row][e.t.blocks.indexOf('{block}')];"
            " c.scrollIntoView({ block: 'nearest' });"
            " const frame = () => new Promise(requestAnimationFrame);"
            " return frame().then(frame).then(() => { const r = c.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; }); })()"
        )
        return x, y

    def drag(self, device: str, first: str, last: str, drop: bool = True) -> None:
        """Paint a range of blocks onto a device's row."""
        start, end = self.cell(device, first), self.cell(device, last)
        start = self.cell(device, first)
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=8)
        if drop:
            self.page.mouse.up()

    def homes(self) -> list[str]:
        """Return where the weights of the MLPs rest, as the browser shows it."""
        return list(
            self.editor(
                "e.t.blocks.map((n, b) => [n, e.t.devices[e.t.options[b].home[e.state.choice[b]]].name])"
                ".filter(([n]) => n.endsWith('.mlp')).map(([, d]) => d)"
            )
        )

    def click(self, label: str) -> None:
        """Press a button of the editor."""
        self.page.locator(".llp button", has_text=label).first.click()

    def dark(self, on: bool) -> None:
        """Change the theme."""
        theme = "JupyterLab Dark" if on else "JupyterLab Light"
        change = "window.jupyterapp.commands.execute('apputils:change-theme', { theme: t })"
        self.page.evaluate(f"async t => {{ await {change}; }}", theme)
        wanted = f"body[data-jp-theme-light={'false' if on else 'true'}]"
        self.page.wait_for_selector(wanted, state="attached")
