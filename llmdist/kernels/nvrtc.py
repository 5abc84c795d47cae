"""CUDA C++ to machine code by NVRTC, from the wheel that CUDA builds of torch bring or from the system.

No nvcc, no host compiler and no GPU is needed. The library is called through ctypes; nothing is cached here.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from ..errors import HardwareError, LlmdistError
from .instances import Instance, headers, program

__all__ = ["ARCHITECTURES", "Compiled", "Nvrtc", "find_nvrtc"]

#: The architectures that are compiled in tests: Turing, Ampere (server, consumer), Ada, Hopper, Blackwell (both).
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
_OPTIONS = ("--std=c++17", "--extra-device-vectorization", "--ptxas-options=-v")
_PATTERNS = {"win32": "nvrtc64*.dll"}
_BUILTINS = {"win32": "nvrtc-builtins64*.dll"}


@dataclass(frozen=True, slots=True)
class Compiled:
    """A cubin, the mangled name of each instance in it, and the assembler's words on registers and spills."""

    cubin: bytes
    names: Mapping[str, str]
    log: str


def _folders() -> Iterable[Path]:
    """Yield where wheels put NVRTC: torch's own CUDA version first, as the driver is known to take its machine code."""
    newer, older = [], []
    for package in ("nvidia", "torch"):
        found = importlib.util.find_spec(package)
        for root in (found.submodule_search_locations or []) if found else []:
            base = Path(root)
            newer += [folder for kind in ("lib", "bin/x86_64") for folder in sorted(base.glob(f"cu1*/{kind}"))[::-1]]
            older += [base / "cuda_nvrtc" / "lib", base / "cuda_nvrtc" / "bin", base / "lib"]
    yield from older + newer if str(torch.version.cuda).startswith("12") else newer + older


def find_nvrtc() -> tuple[Path, Path | None] | None:
    """Return the paths of NVRTC and of its builtins in the installed wheels, or None."""
    pattern = _PATTERNS.get(sys.platform, "libnvrtc.so*")
    builtins = _BUILTINS.get(sys.platform, "libnvrtc-builtins.so*")
    for folder in _folders():
        libraries = [p for p in sorted(folder.glob(pattern)) if "builtins" not in p.name and ".alt" not in p.name]
        if libraries:
            return libraries[-1], next(iter(sorted(folder.glob(builtins), reverse=True)), None)
    return None


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    found = find_nvrtc()
    system = ctypes.util.find_library("nvrtc")
    if found is None and system is None:
        raise HardwareError(
            "The CUDA kernels need NVRTC to be compiled, and no NVRTC library was found in the installed packages "
            "or the system: install a CUDA build of torch, or `pip install nvidia-cuda-nvrtc`."
        )
    if found is None:
        return ctypes.CDLL(system)
    path, builtins = found
    if builtins is not None:  # NVRTC opens it by bare name and would not find it beside itself
        ctypes.CDLL(str(builtins))
    return ctypes.CDLL(str(path))


class Nvrtc:
    """The compiler: `compile` turns instances into one cubin for one architecture."""

    def __init__(self) -> None:
        self._nvrtc = _library()
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.version = f"{major.value}.{minor.value}"

    def _check(self, status: int, program_handle: ctypes.c_void_p | None = None) -> None:
        if status == 0:
            return
        self._nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        text = (self._nvrtc.nvrtcGetErrorString(status) or b"").decode()
        log = self._text(program_handle, "nvrtcGetProgramLog") if program_handle else ""
        raise LlmdistError(f"NVRTC could not compile the CUDA kernels ({text}):\n{log}")

    def _text(self, handle: ctypes.c_void_p, function: str) -> str:
        return self._bytes(handle, function).rstrip(b"\0").decode(errors="replace")

    def _bytes(self, handle: ctypes.c_void_p, function: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._nvrtc, f"{function}Size")(handle, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._nvrtc, function)(handle, buffer))
        return buffer.raw

    @property
    def options(self) -> tuple[str, ...]:
        """Return the options beside the architecture."""
        return _OPTIONS

    def compile(self, instances: Sequence[Instance], architecture: int) -> Compiled:
        """Return `instances` compiled for ``sm_<architecture>``; LlmdistError carries the compiler's log."""
        files = headers()
        names = (ctypes.c_char_p * len(files))(*(name.encode() for name in files))
        texts = (ctypes.c_char_p * len(files))(*(text.encode() for text in files.values()))
        handle = ctypes.c_void_p()
        text = program(instances).encode()
        create = self._nvrtc.nvrtcCreateProgram
        self._check(create(ctypes.byref(handle), text, b"decode.cu", len(files), texts, names))
        try:
            for instance in instances:
                self._check(self._nvrtc.nvrtcAddNameExpression(handle, instance.expression.encode()))
            options = [f"--gpu-architecture=sm_{architecture}".encode(), *(o.encode() for o in self.options)]
            array = (ctypes.c_char_p * len(options))(*options)
            self._check(self._nvrtc.nvrtcCompileProgram(handle, len(options), array), handle)
            lowered = {i.expression: self._lowered(handle, i.expression) for i in instances}
            return Compiled(self._bytes(handle, "nvrtcGetCUBIN"), lowered, self._text(handle, "nvrtcGetProgramLog"))
        finally:
            self._nvrtc.nvrtcDestroyProgram(ctypes.byref(handle))

    def _lowered(self, handle: ctypes.c_void_p, expression: str) -> str:
        name = ctypes.c_char_p()
        self._check(self._nvrtc.nvrtcGetLoweredName(handle, expression.encode(), ctypes.byref(name)))
        assert name.value is not None
        return name.value.decode()
