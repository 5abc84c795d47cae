"""The stored notebooks: made from their sources, run from top to bottom, small, and quiet."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TUTORIALS = Path(__file__).parents[2] / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
Cell = dict[str, Any]


@pytest.fixture(scope="module")
def written() -> Iterator[dict[str, list[str]]]:
    """What each tutorial's source would write: the texts of its cells."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TUTORIALS / "source"))
        for name in [name for name in sys.modules if name.partition(".")[0] in ("notebook", "links")]:
            patch.delitem(sys.modules, name)  # Jupyter's own package may be there under the same name
        notebook, links = importlib.import_module("notebook"), importlib.import_module("links")
        modules = [importlib.import_module(name) for name in notebook.TUTORIALS]
        cells = {module.NAME: links.opened(module.NAME, module.CELLS) for module in modules}
        yield {name: [cell if isinstance(cell, str) else cell[0] for cell in many] for name, many in cells.items()}
        for name in ("notebook", "links"):
            sys.modules.pop(name, None)


def cells_of(path: Path) -> list[Cell]:
    """Return the cells of a stored notebook."""
    cells: list[Cell] = json.loads(path.read_text())["cells"]
    return cells


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_what_its_source_writes(path: Path, written: dict[str, list[str]]) -> None:
    """Nobody edited one of the two alone: ``make tutorials`` would change outputs only."""
    assert ["".join(cell["source"]) for cell in cells_of(path)] == written[path.name]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_run_in_order_and_is_quiet(path: Path) -> None:
    """Every code cell once, from the top, without an error or a warning, in less than 300 KB."""
    code = [cell for cell in cells_of(path) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert outputs and all(o["output_type"] != "error" and o.get("name") != "stderr" for o in outputs)
    assert path.stat().st_size < 300_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_more_text_than_code_and_short_cells(path: Path) -> None:
    """More letters are read than run, no cell is over eleven lines, and a lesson asks for three predictions."""
    cells = cells_of(path)
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert max(len(source.splitlines()) for source in code) <= 11
    assert len(text) > 1.3 * sum(map(len, code))
    assert text.count("**Predict before you run:**") >= (3 if path.name.startswith("lesson") else 1)


@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda path: path.stem)
def test_the_solution_is_not_in_the_notebook(path: Path) -> None:
    """Every check cell is stored with an answer that is not right yet, and there is at least one."""
    said = [
        "".join(output["text"]) for cell in cells_of(path) if cell["cell_type"] == "code"
        and any(word in "".join(cell["source"]) for word in ("check", "tried("))
        for output in cell["outputs"] if output["output_type"] == "stream"
    ]  # fmt: skip
    assert said and all("Not yet: " in words and "Right: " not in words for words in said)
