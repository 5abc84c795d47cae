"""A shell with the magics, made once for each test or for each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell


def _shell() -> Iterator[InteractiveShell]:
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "llmdist_magics")
    yield shell
    shell.run_line_magic("unload_ext", "llmdist_magics")
    InteractiveShell.clear_instance()


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """Return a fresh shell with the extension."""
    yield from _shell()


@pytest.fixture(scope="module")
def module_shell() -> Iterator[InteractiveShell]:
    """Return a shell with the extension that the tests of a module share."""
    yield from _shell()
