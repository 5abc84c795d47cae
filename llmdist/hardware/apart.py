"""Measuring in a child process, so that matrices, kernels and a CUDA context never weigh on the caller."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import torch

from ..errors import HardwareError
from ..paths import child_environment
from .measure import Progress, measuring_files
from .profile import HardwareProfile

__all__ = ["measure_apart"]


def measure_apart(folder: Path, progress: Progress | None = None) -> HardwareProfile:
    """Return what `measure(folder)` returns in a child process with as many threads as this one.

    An interrupt ends the child; its temporary file is gone in any case.

    Parameters
    ----------
    folder : an existing folder, whose disk is timed.
    progress : called with (what is measured, fraction done).

    Raises
    ------
    HardwareError : the disk cannot be written to, or the child ended before it had measured.
    """
    command = [sys.executable, "-m", "llmdist.hardware.child", str(folder), str(torch.get_num_threads())]
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=child_environment(), text=True, encoding="utf-8"
    )
    try:
        return _listen(child, progress or (lambda what, fraction: None))
    finally:
        child.kill()
        child.communicate()
        for path in measuring_files(child.pid, folder):
            with suppress(OSError):
                path.unlink()


def _listen(child: subprocess.Popen[str], progress: Progress) -> HardwareProfile:
    """Return the profile that the child's lines end with."""
    assert child.stdout is not None
    for line in child.stdout:
        said = json.loads(line)
        if "profile" in said:
            return HardwareProfile.from_json(said["profile"])
        if "error" in said:
            raise HardwareError(said["error"])
        if "warning" in said:
            warnings.warn(said["warning"], stacklevel=5)
        else:
            progress(said["what"], said["fraction"])
    raise HardwareError(
        f"The machine was to be measured, but the measuring process ended with exit code {child.wait()} before it was "
        "done: close programs that use much memory and load again."
    )
