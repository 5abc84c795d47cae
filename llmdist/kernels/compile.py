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
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from ..hardware.probe import cpu_label
from ..paths import cache_folder

__all__ = ["begin", "compiler", "is_built", "library", "reset"]

#: Compiled side by side, the longest first; the whole of them is linked.
_UNITS = ("cpu_product.cpp", "cpu.cpp", "cpu_bulk.cpp")
_HEADERS = (
    "cpu_product.h", "cpu_numbers.h", "cpu_tiles.h", "cpu_tiles_avx512.h", "cpu_tiles_neon.h", "cpu_pool.h",
    "cpu_unpack.h", "cpu_attention.h", "cpu_blocks.h",
)  # fmt: skip
_COMPILERS = ("g++", "clang++", "c++")
_FLAGS = (
    "-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd",
    "-fvisibility=hidden", "-fPIC", "-pthread",
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


def begin() -> None:
    """Start to compile beside other work where `library` would have to; whoever calls that meanwhile waits for it."""

    def quietly() -> None:
        with suppress(OSError, subprocess.SubprocessError):  # `library` meets the same again, and says it
            _built()

    if not is_built():
        threading.Thread(target=quietly, name="compile", daemon=True).start()


def reset() -> None:
    """Forget the loaded library, so that the next use looks for a compiler again."""
    library.cache_clear()


def _flags() -> tuple[str, ...]:
    arm = platform.machine().lower() in ("arm64", "aarch64")
    extra = tuple(os.environ.get("LLMDIST_CXXFLAGS", "").split())
    return (*_FLAGS, "-mcpu=native" if arm else "-march=native", *extra)


def _built() -> Path:
    """Return the library's file, compiled now if it is not there; one process compiles, others wait."""
    tool = compiler()
    if tool is None:
        raise OSError("no C++ compiler was found; install g++ or clang for full speed")
    target = _target(tool)
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(target.with_suffix(".lock"), timeout=_SECONDS):
                if not target.is_file():
                    _compile(tool, target)
        except Timeout as error:
            raise OSError(f"another process has been compiling them for {_SECONDS} s") from error
    return target


def _target(tool: str) -> Path:
    """Return where the library lies that `tool` makes of these sources for this processor."""
    digest = hashlib.sha256("\n".join((tool, *_flags(), cpu_label(), platform.machine())).encode())
    for name in (*_UNITS, *_HEADERS):
        digest.update(Path(__file__).with_name(name).read_bytes())
    return cache_folder() / "kernels" / f"cpu-{digest.hexdigest()[:16]}{'.dll' if os.name == 'nt' else '.so'}"


def _compile(tool: str, target: Path) -> None:
    """Compile beside the target and rename, so that a second process never loads half a file."""

    def run(*arguments: str) -> None:
        subprocess.run(
            [tool, *_flags(), *arguments], check=True, capture_output=True, text=True, timeout=_SECONDS
        )  # fmt: skip

    with tempfile.TemporaryDirectory(dir=target.parent) as folder, ThreadPoolExecutor(len(_UNITS)) as threads:
        objects = [str(Path(folder) / f"{unit}.o") for unit in _UNITS]
        sources = [str(Path(__file__).with_name(unit)) for unit in _UNITS]
        list(threads.map(lambda source, made: run("-c", source, "-o", made), sources, objects))
        draft = Path(folder) / target.name
        run("-shared", *objects, "-o", str(draft))
        draft.replace(target)
