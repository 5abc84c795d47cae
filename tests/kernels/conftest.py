"""The host build of the kernels, compiled once per session."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from shim import COMPILER, HostModule, build_all


@pytest.fixture(scope="session")
def host_module(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], HostModule]:
    """Return a function from a thread order to a module that runs the kernels on the CPU."""
    if COMPILER is None:
        pytest.skip("no g++ found: the kernels' numbers are checked with a C++ compiler")
    libraries = build_all(Path(tmp_path_factory.mktemp("host")))
    return lambda seed=0: HostModule(libraries, seed)
