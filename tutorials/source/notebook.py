"""Writes every tutorial from its cells: a text is a markdown cell, a list of one text a code cell.

``python tutorials/source/notebook.py`` writes them without outputs; ``make tutorials`` also runs them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

__all__ = ["TUTORIALS", "write"]

TUTORIALS = ("first_plan", "one_token", "counting_bytes", "machine", "homes", "hiding", "bits", "ants", "serving")


def write(name: str, cells: Sequence[str | list[str]]) -> None:
    """Write `name` into the folder of the tutorials."""
    made = [new_code_cell(c[0]) if isinstance(c, list) else new_markdown_cell(c) for c in cells]
    for i, cell in enumerate(made):
        cell["id"] = f"cell-{i}"
    notebook = new_notebook(cells=made)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, Path(__file__).parents[1] / name)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    for module in map(importlib.import_module, TUTORIALS):
        write(module.NAME, module.CELLS)
