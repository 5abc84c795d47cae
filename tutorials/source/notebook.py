"""Writes every tutorial from its cells: a text is a markdown cell, a list of one text a code cell.

``python tutorials/source/notebook.py`` writes them without outputs, and the table of lessons in the README;
``make tutorials`` also runs them. Links to Colab and Binder: see `links.py`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

sys.path.insert(0, str(Path(__file__).parent))
from links import REPOSITORY, opened, web_links

__all__ = ["TUTORIALS", "readme_with_table", "table_rows", "write"]

ROOT = Path(__file__).parents[2]

TUTORIALS = ("first_plan", "one_token", "counting_bytes", "machine", "homes", "hiding", "bits", "ants", "serving")


def write(name: str, cells: Sequence[str | list[str]]) -> None:
    """Write `name` into the folder of the tutorials."""
    made = [new_code_cell(c[0]) if isinstance(c, list) else new_markdown_cell(c) for c in cells]
    for i, cell in enumerate(made):
        cell["id"] = f"cell-{i}"
    notebook = new_notebook(cells=made)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, ROOT / "tutorials" / name)


def readme_with_table(text: str, tutorials: Sequence[tuple[str, str, str]], repository: str = REPOSITORY) -> str:
    """Return the README `text` with its table made anew: a row per (notebook, title, what one learns)."""
    head, begin, rest = text.partition("<!-- lessons -->\n")
    _, end, tail = rest.partition("<!-- end of lessons -->")
    if not begin or not end:
        raise ValueError("README.md lacks the lines <!-- lessons --> and <!-- end of lessons -->.")
    on_web = bool(repository)
    rows = ["| notebook | you learn |" + " in a browser |" * on_web, "|---|---|" + "---|" * on_web]
    for name, title, learn in tutorials:
        links = f" {' · '.join(web_links(name, repository))} |" if on_web else ""
        rows.append(f"| [{title}](tutorials/{name}) | {learn} |{links}")
    return head + begin + "\n".join(rows) + "\n" + end + tail


def table_rows() -> list[tuple[str, str, str]]:
    """Return (notebook, title, what one learns) of every tutorial."""
    modules = map(importlib.import_module, TUTORIALS)
    return [(m.NAME, m.CELLS[0].partition("\n")[0].removeprefix("# "), m.LEARN) for m in modules]


if __name__ == "__main__":
    for module in map(importlib.import_module, TUTORIALS):
        write(module.NAME, opened(module.NAME, module.CELLS))
    readme = ROOT / "README.md"
    readme.write_text(readme_with_table(readme.read_text(), table_rows()))
