"""The CPU kernels as a shared library, compiled at first use where a C++ compiler is found.

The library lies in the user's cache under a hash of its sources, flags, compiler and processor, so another machine
or another version never loads it. Nothing here runs at import, and nothing fails: without a compiler the caller
gets None and a note, and computes with torch.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path

from ..hardware.probe import cpu_label
from ..paths import cache_folder

__all__ = ["compiler", "is_built", "library", "reset"]

_SOURCES = (
    "cpu.cpp", "cpu_product.h", "cpu_tiles.h", "cpu_tiles_avx512.h", "cpu_pool.h", "cpu_unpack.h", "cpu_attention.h",
    "cpu_bulk.h",
)  # fmt: skip
_COMPILERS = ("g++", "clang++", "c++")
_FLAGS = (
    "-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd",
    "-shared", "-fPIC", "-pthread",
)  # fmt: skip
_SECONDS = 300


def compiler() -> str | None:
    """Return the C++ compiler: ``CXX``, else the first one on the path; None where there is none."""
    named = os.environ.get("CXX")
    return next((path for name in (named, *_COMPILERS) if name and (path := shutil.which(name))), None)


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, compiling them if need be (once, about ten seconds); None without a compiler.

    ``LLMDIST_KERNELS=torch`` in the environment keeps to torch.
    """
    if os.environ.get("LLMDIST_KERNELS") == "torch":
        return None
    try:
        return ctypes.CDLL(str(_built()))
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None)
        reason = detail.strip().splitlines()[0] if detail and detail.strip() else str(error)
        warnings.warn(f"The CPU kernels could not be compiled ({reason}), so torch computes instead.", stacklevel=2)
        return None


def is_built() -> bool:
    """Return whether `library` need not compile: it was compiled before, or cannot be here."""
    tool = compiler()
    return tool is None or os.environ.get("LLMDIST_KERNELS") == "torch" or _target(tool).is_file()


def reset() -> None:
    """Forget the loaded library, so that the next use looks for a compiler again."""
    library.cache_clear()


def _flags() -> tuple[str, ...]:
    arm = platform.machine().lower() in ("arm64", "aarch64")
    extra = tuple(os.environ.get("LLMDIST_CXXFLAGS", "").split())
    return (*_FLAGS, "-mcpu=native" if arm else "-march=native", *extra)


def _built() -> Path:
    """Return the library's file, compiled now if it is not there."""
    tool = compiler()
    if tool is None:
        raise OSError("no C++ compiler was found; install g++ or clang for full speed")
    target = _target(tool)
    if not target.is_file():
        _compile(tool, Path(__file__).with_name(_SOURCES[0]), target)
    return target


def _target(tool: str) -> Path:
    """Return where the library lies that `tool` makes of these sources for this processor."""
    digest = hashlib.sha256("\n".join((tool, *_flags(), cpu_label(), platform.machine())).encode())
    for name in _SOURCES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return cache_folder() / "kernels" / f"cpu-{digest.hexdigest()[:16]}{'.dll' if os.name == 'nt' else '.so'}"


def _compile(tool: str, source: Path, target: Path) -> None:
    """Compile beside the target and rename, so that a second process never loads half a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(suffix=target.suffix, dir=target.parent)
    os.close(handle)
    try:
        subprocess.run(
            [tool, *_flags(), str(source), "-o", draft], check=True, capture_output=True, text=True, timeout=_SECONDS
        )
        os.replace(draft, target)
    finally:
        Path(draft).unlink(missing_ok=True)
