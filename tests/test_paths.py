"""What a child process inherits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import llmdist
from llmdist.paths import child_environment


def test_a_child_finds_this_package_and_lets_waiting_threads_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of this process comes first; torch's threads do not spin for milliseconds beside the kernels'."""
    for name in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    environment = child_environment()
    code = "import llmdist, os; print(llmdist.__file__, os.environ['GOMP_SPINCOUNT'], os.environ['KMP_BLOCKTIME'])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [llmdist.__file__, "10000", "0"]
    assert environment["PYTHONPATH"].split(os.pathsep) == [str(Path(llmdist.__file__).parents[1]), "elsewhere"]


def test_what_the_user_says_of_waiting_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either by the count, or by the policy, which the count would overrule."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert child_environment()["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert "GOMP_SPINCOUNT" not in child_environment()
