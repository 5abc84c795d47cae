"""The main job in a real JupyterLab: plan, generate, stop, save, reopen without a kernel."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

sys.path.insert(0, str(Path(__file__).parent))
from lab import CHROMIUM, open_lab

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
CELLS = [
    "%load_ext llmdist\n%llm_load demo",
    "%llm_plan --ram 7MiB --context 256 --seconds 1.5",
    "%llm_generate --max-new-tokens 200 One day Anna the ant walked to the",
    "print('text kept:', len(llm.text) > 0, llm.stats.tokens)",
]


def test_plan_generate_stop_save_reopen(tmp_path: Path) -> None:
    """Outputs appear, an interrupt keeps the text, and the saved file holds pictures without a kernel."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "job.ipynb")
    with open_lab(tmp_path, "job.ipynb") as lab:
        lab.wait_for_kernel()
        lab.command("notebook:run-all-cells")
        lab.wait_for_text("text kept: True", 120)
        lab.picture(tmp_path / "job.png")
        lab.command("docmanager:save")
        lab.page.wait_for_timeout(2000)
    saved = json.loads((tmp_path / "job.ipynb").read_text())
    outputs = [json.dumps(cell["outputs"]) for cell in saved["cells"]]
    assert not any('"output_type": "error"' in text for text in outputs)
    assert "data:image/svg+xml;base64," in outputs[1] and "data:image/svg+xml;base64," in outputs[2]
    assert "tokens/s" in outputs[1] + outputs[2]
