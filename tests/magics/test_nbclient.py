"""Every magic in a kernel without a browser, pictures on and off: both say the same numbers as text."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parents[2]
WORK = [
    "%llm_load demo",
    "%llm_plan --seconds 0.3 --context 256 --ram 7MiB",
    "print(llm.plan_result.summary())",
    "%llm_generate --max-new-tokens 12 One day Anna the ant walked to the",
    "%%llm_generate --max-new-tokens 5 --out tale\nOne day {x} the ant",
    "%llm_place layers.1.mlp cpu",
    "%llm_status",
    "%llm_report page.html",
    "job = %llm_generate --background --max-new-tokens 4 The ants\nprint(job.wait(60))",
    "print(repr(tale), llm.text)",
    "%llm_plan --seconds 0.2 --context 64 --batch 2 -q",
    "%%llm_generate --batch --max-new-tokens 4 -o --out many\nOne day Anna\nThe ants",
    "%llm_unload",
]


def texts(cell: nbformat.NotebookNode) -> str:
    """Return what a cell shows where no picture can be shown."""
    shown = ""
    for output in cell.outputs:
        assert output.output_type != "error", output
        shown += output.get("text", "") or output.get("data", {}).get("text/plain", "")
    return shown.strip()


def test_every_magic_says_the_same_with_pictures_and_without(tmp_path: Path) -> None:
    """A notebook that runs all magics twice has pictures in the first run alone, and the same text and numbers."""
    sources = ["%load_ext llmdist", *WORK, "%config LLMDist.views = False", *WORK]
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    paths = [str(ROOT), str(ROOT / "magics"), str(ROOT / "widgets"), os.environ.get("PYTHONPATH", "")]
    place = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(notebook, timeout=240, kernel_name="python3", resources=place)
    client.execute(env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "IPYTHONDIR": str(tmp_path / ".ipython")})
    first, second = notebook.cells[1 : 1 + len(WORK)], notebook.cells[2 + len(WORK) :]
    html = ["data:image/svg" in str(cell.outputs) for cell in first]
    assert [i for i, shown in enumerate(html) if shown][:5] == [0, 1, 3, 4, 6]
    assert not any("data:image/svg" in str(cell.outputs) for cell in second)
    for index in (3, 4, 9):  # what was generated
        assert texts(first[index]) == texts(second[index]) != ""
    for cells in (first, second):  # the plan begins with its summary, to the last digit
        assert texts(cells[1]).startswith(texts(cells[2])) and "streamed" in texts(cells[2])
