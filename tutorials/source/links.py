"""Where a tutorial opens on the web: Colab and Binder, written only when the repository's address is known.

`REPOSITORY` is the one place for that address, ``owner/name`` on GitHub. While it is empty no link is written, so none is
dead. ``make tutorials REPOSITORY=owner/name`` writes them for once; put the name here to keep them.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote

__all__ = ["REPOSITORY", "absolute", "install_cell", "opened", "web_links"]

REPOSITORY = os.environ.get("REPOSITORY") or ""
BRANCH = "main"

_INSTALL = """\
# On Colab this cell installs llmdist. Everywhere else it does nothing.
import importlib.util
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("llmdist") is None:
    %pip install -q git+https://github.com/{repository}@{branch}"""


def web_links(notebook: str, repository: str = REPOSITORY) -> tuple[str, ...]:
    """Return the links that open `notebook` in Colab and in Binder; none while the repository is not known."""
    if not repository:
        return ()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"REPOSITORY is {repository!r}: give owner/name, as GitHub has it.")
    path = quote(f"tutorials/{notebook}")
    return (
        f"[Open in Colab](https://colab.research.google.com/github/{repository}/blob/{BRANCH}/{path})",
        f"[Open in Binder](https://mybinder.org/v2/gh/{repository}/{BRANCH}?labpath={quote(path, safe='')})",
    )


def install_cell(repository: str = REPOSITORY) -> str:
    """Return the cell that installs llmdist on Colab."""
    return _INSTALL.format(repository=repository, branch=BRANCH)


def absolute(text: str, repository: str = REPOSITORY) -> str:
    """Return `text` with links out of the tutorials' folder on the web: Colab has the notebook and no other file."""
    return text.replace("](../", f"](https://github.com/{repository}/blob/{BRANCH}/")


def opened(name: str, cells: list[str | list[str]], repository: str = REPOSITORY) -> list[str | list[str]]:
    """Return the cells of a tutorial with its links under the title and the install cell after it; as they are without."""
    links = web_links(name, repository)
    if not links:
        return cells
    on_web = [absolute(cell, repository) if isinstance(cell, str) else cell for cell in cells]
    title, _, rest = str(on_web[0]).partition("\n\n")
    return [f"{title}\n\n{' · '.join(links)}\n\n{rest}", [install_cell(repository)], *on_web[1:]]
