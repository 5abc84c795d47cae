"""Where things lie: the user's cache folder, and what a child process needs to find this package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_folder", "child_environment", "replace_text"]


def cache_folder() -> Path:
    """Return the folder of everything that can be made again: ``LLMDIST_CACHE``, or the user's own."""
    named = os.environ.get("LLMDIST_CACHE")
    if named:
        return Path(named).expanduser()
    local = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None
    return Path(local) / "llmdist" if local else Path.home() / ".cache" / "llmdist"


def replace_text(path: Path, text: str) -> None:
    """Put `text` into `path` in one step; where the disk refuses, OSError, the file as it was and no draft left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


#: Torch's threads wait for more work by spinning for milliseconds, on cores that the kernels' own threads need then.
_WAITING = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "0"}  # about 0.1 ms; of GNU's and of LLVM's OpenMP


def child_environment() -> dict[str, str]:
    """Return this process's environment in which a child finds the same llmdist first and waits with patience.

    What the user's environment says of OpenMP's waiting stays.
    """
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    waiting = {} if "OMP_WAIT_POLICY" in os.environ else _WAITING
    return {**waiting, **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
