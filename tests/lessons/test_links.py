"""Links to Colab and Binder: well formed for a repository, none while it is not known; the README's table is fresh."""

from __future__ import annotations

import importlib
import json
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def source() -> Iterator[tuple[ModuleType, ModuleType]]:
    """The modules that write the tutorials: `notebook` and `links`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REPOSITORY", raising=False)
        patch.syspath_prepend(str(TUTORIALS / "source"))
        names = [name for name in sys.modules if name.partition(".")[0] in ("notebook", "links")]
        for name in names:  # Jupyter's own package may be there under the same name
            patch.delitem(sys.modules, name)
        yield importlib.import_module("notebook"), importlib.import_module("links")
        for name in ("notebook", "links"):
            sys.modules.pop(name, None)


def markdown(path: Path) -> str:
    """Return all text cells of a stored notebook."""
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def test_links_open_the_notebook_itself(source: tuple[ModuleType, ModuleType]) -> None:
    """The path in each link is a file of this repository; Colab's is that of GitHub, Binder's opens JupyterLab."""
    for path in NOTEBOOKS:
        colab, binder = (urlsplit(link[:-1].partition("](")[2]) for link in source[1].web_links(path.name, "ant/hill"))
        assert (colab.scheme, colab.netloc) == ("https", "colab.research.google.com")
        assert unquote(colab.path) == f"/github/ant/hill/blob/main/tutorials/{path.name}"
        assert (binder.scheme, binder.netloc, binder.path) == ("https", "mybinder.org", "/v2/gh/ant/hill/main")
        (labpath,) = parse_qs(binder.query)["labpath"]
        assert (ROOT / labpath).is_file() and labpath.endswith(path.name)


@pytest.mark.parametrize("wrong", ["ant", "https://github.com/ant/hill", "ant/hill/tree", "ant hill/x"])
def test_an_address_that_is_no_repository_is_refused(source: tuple[ModuleType, ModuleType], wrong: str) -> None:
    """What is not owner/name would be a dead link in nine notebooks."""
    with pytest.raises(ValueError, match="owner/name"):
        source[1].web_links("a.ipynb", wrong)


def test_without_a_repository_nothing_is_added(source: tuple[ModuleType, ModuleType]) -> None:
    """Cells stay as they are; stored notebooks and README have such links where REPOSITORY is set, and else none."""
    cells = ["# Title\n\nText.", ["1 + 1"]]
    assert source[1].web_links("a.ipynb", "") == () and source[1].opened("a.ipynb", cells, "") is cells
    for text in (*map(markdown, NOTEBOOKS), (ROOT / "README.md").read_text()):
        for host in ("https://colab.research.google.com/", "https://mybinder.org/"):
            assert (host in text) is bool(source[1].REPOSITORY)


def test_with_a_repository_links_follow_the_title(source: tuple[ModuleType, ModuleType]) -> None:
    """Title, links, text; then the install cell; no link that needs a file beside the notebook, as Colab has none."""
    cells = ["# Title\n\nText.", "See [b](../docs/glossary.md#block)."]
    first, install, second = source[1].opened("a.ipynb", cells, "ant/hill")
    assert first.startswith("# Title\n\n[Open in Colab](https://") and first.endswith("\n\nText.")
    assert "git+https://github.com/ant/hill@main" in install[0]
    assert second == "See [b](https://github.com/ant/hill/blob/main/docs/glossary.md#block)."


def test_the_install_cell_is_harmless_elsewhere(source: tuple[ModuleType, ModuleType]) -> None:
    """Outside Colab it runs to its end and installs nothing."""
    from IPython.core.interactiveshell import InteractiveShell

    shell, installed = InteractiveShell(), list[str]()
    shell.register_magic_function(installed.append, magic_name="pip")
    shell.run_cell(source[1].install_cell("ant/hill")).raise_error()
    assert installed == []


def test_the_table_of_the_readme_is_made_from_the_lessons(source: tuple[ModuleType, ModuleType]) -> None:
    """Made anew it is what the README has; with a repository it has a column more."""
    notebook, readme = source[0], (ROOT / "README.md").read_text()
    rows = notebook.table_rows()
    assert [row[0] for row in rows] == [path.name for path in NOTEBOOKS]
    assert notebook.readme_with_table(readme, rows) == readme
    wide = notebook.readme_with_table(readme, rows, "ant/hill")
    assert wide.count("[Open in Binder](https://") == len(rows) and "| in a browser |" in wide
    with pytest.raises(ValueError, match="lessons"):
        notebook.readme_with_table("no marks", rows, "")


def test_links_into_the_glossary_lead_somewhere() -> None:
    """Every anchor that a lesson links is one of the glossary."""
    anchors = set(re.findall(r'<a id="([\w-]+)">', (ROOT / "docs" / "glossary.md").read_text()))
    for path in NOTEBOOKS:
        linked = set(re.findall(r"docs/glossary\.md#([\w-]+)\)", markdown(path)))
        assert linked and linked <= anchors, linked - anchors
        assert set(re.findall(r"\]\((\.\./[^)#]+)", markdown(path))) <= {"../docs/glossary.md"}


def test_binder_builds_without_cuda() -> None:
    """Binder's folder asks for a torch without CUDA, a compiler for the kernels, and a script that may be run."""
    folder = ROOT / "binder"
    assert "pytorch-cpu" in (folder / "environment.yml").read_text()
    assert (folder / "apt.txt").read_text().split() == ["g++"]
    script = folder / "postBuild"
    assert script.read_text().startswith("#!/bin/bash\n") and "--editable ." in script.read_text()
    assert script.stat().st_mode & stat.S_IXUSR
