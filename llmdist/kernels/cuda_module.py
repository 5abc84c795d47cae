"""One launch as data, and what runs it: a CUDA module here, the tests' host build elsewhere.

A `Launch` holds everything that the driver is told. `CudaModule` compiles the instances it is asked for, keeps the
machine code in the user's cache folder, and launches on torch's current stream. While that stream records, kernels may
begin before the one ahead has ended (from sm_90 on): they ask for their weights and then wait.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import torch

from ..errors import HardwareError
from ..paths import cache_folder
from .instances import Instance, source_hash
from .nvrtc import Compiled, Nvrtc

__all__ = ["CudaModule", "KernelModule", "Launch", "compile_cached", "recorded", "require_cuda"]

_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_DEFAULT_SHARED_BYTES = 48 << 10


_MAY_BEGIN_EARLY = 6  # CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION


class _Attribute(ctypes.Structure):
    """CUlaunchAttribute: which, and a union of 64 bytes that begins with the value."""

    _fields_ = [("kind", ctypes.c_uint64), ("value", ctypes.c_int), ("rest", ctypes.c_char * 60)]


class _Config(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = [
        *((name, ctypes.c_uint) for name in ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared")),
        ("stream", ctypes.c_void_p), ("attributes", ctypes.POINTER(_Attribute)), ("count", ctypes.c_uint),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel launch: `grid` CTAs of `threads` threads, `shared_bytes` each; `arguments` as ctypes values."""

    instance: Instance
    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int
    arguments: tuple[Any, ...]

    def argument_array(self) -> Any:
        """Return the arguments as the C array of pointers that a launch takes; valid while self lives."""
        pointers = [ctypes.cast(ctypes.pointer(value), ctypes.c_void_p) for value in self.arguments]
        return (ctypes.c_void_p * len(pointers))(*pointers)


class KernelModule(Protocol):
    """Something that runs launches in order."""

    def run(self, launch: Launch) -> None:
        """Run one launch, or put it on the stream."""
        ...


def require_cuda(device: str) -> None:
    """Raise HardwareError in one sentence when `device` cannot be used."""
    if not torch.cuda.is_available():
        raise HardwareError(
            f"The device {device} was asked for, and torch {torch.__version__} finds no CUDA device on this "
            "machine: plan with cpu and disk, or install a CUDA build of torch and NVIDIA's driver."
        )
    index = torch.device(device).index or 0
    if index >= torch.cuda.device_count():
        raise HardwareError(
            f"The device {device} was asked for, and this machine has {torch.cuda.device_count()} CUDA device(s): "
            "use a number below that."
        )


def compile_cached(compiler: Nvrtc, instances: Sequence[Instance], architecture: int) -> Compiled:
    """Return the compiled instances from the cache folder, or compile and keep them."""
    parts = [source_hash(), compiler.version, str(architecture), *compiler.options]
    parts += sorted(instance.expression for instance in instances)
    key = sha256("\0".join(parts).encode()).hexdigest()[:32]
    folder = cache_folder() / "kernels"
    binary, index = folder / f"{key}.cubin", folder / f"{key}.json"
    if binary.is_file() and index.is_file():
        data = json.loads(index.read_text(encoding="utf-8"))
        return Compiled(binary.read_bytes(), data["names"], data["log"])
    compiled = compiler.compile(instances, architecture)
    folder.mkdir(parents=True, exist_ok=True)
    _write(binary, compiled.cubin)
    _write(index, json.dumps({"names": dict(compiled.names), "log": compiled.log}).encode())
    return compiled


def recorded(device: str, queue: Callable[[], None]) -> Callable[[], None]:
    """Return what launches at once, on torch's current stream, all that `queue` launches, which does not run now.

    Every launch was made before, and `queue` allocates nothing.
    """
    graph, usual, beside = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device), torch.cuda.Stream(device)
    beside.wait_stream(usual)
    with torch.cuda.stream(beside):
        graph.capture_begin(capture_error_mode="thread_local")  # other threads go on copying
        try:
            queue()
        finally:
            graph.capture_end()
    usual.wait_stream(beside)

    def replay() -> None:
        with torch.cuda.device(device):
            graph.replay()

    return replay


def _write(path: Path, data: bytes) -> None:
    """Write so that another process sees the whole file or none."""
    partial = path.with_name(f"{path.name}.{id(data)}.part")
    partial.write_bytes(data)
    partial.replace(path)


def refusal(card: str, major: int, minor: int, instances: Sequence[Instance]) -> str | None:
    """Return why a card of this compute capability cannot run the kernels `instances`; None where it can."""
    if (major, minor) < (7, 5):
        return f"{card} is of compute capability {major}.{minor}: the fused kernels need 7.5 (Turing) or newer."
    if major < 8 and any("Bf16" in instance.arguments for instance in instances):
        return f"{card} has no bf16: its fused kernels compute in fp16, in plans of precision fp16 (--precision fp16)."
    return None


class CudaModule:
    """The kernels of `instances` on one CUDA device, loaded through the driver.

    `overlaps`: while a stream records, a kernel may begin before the one ahead has ended.
    """

    def __init__(self, instances: Sequence[Instance], device: str = "cuda:0") -> None:
        require_cuda(device)
        self.device = torch.device("cuda", torch.device(device).index or 0)
        torch.cuda.init()
        major, minor = torch.cuda.get_device_capability(self.device)
        if refused := refusal(f"{self.device} ({torch.cuda.get_device_name(self.device)})", major, minor, instances):
            raise HardwareError(refused)
        compiled = compile_cached(Nvrtc(), list(instances), major * 10 + minor)
        self.overlaps = major >= 9
        self._driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        self._module = ctypes.c_void_p()
        with torch.cuda.device(self.device):  # a module belongs to the context that is current while it is loaded
            torch.zeros(1, device=self.device)
            self._check(self._driver.cuModuleLoadData(ctypes.byref(self._module), compiled.cubin))
        self._functions = {i: self._function(compiled.names[i.expression]) for i in instances}
        self._shared: dict[Instance, int] = {}

    def _function(self, name: str) -> ctypes.c_void_p:
        function = ctypes.c_void_p()
        self._check(self._driver.cuModuleGetFunction(ctypes.byref(function), self._module, name.encode()))
        return function

    def _check(self, status: int) -> None:
        if status:
            text = ctypes.c_char_p()
            self._driver.cuGetErrorString(status, ctypes.byref(text))
            reason = (text.value or b"unknown").decode()
            raise RuntimeError(f"CUDA error {status} on {self.device}: {reason}")

    def run(self, launch: Launch) -> None:
        """Put one launch on torch's current stream."""
        if torch.cuda.current_device() != self.device.index:
            with torch.cuda.device(self.device):
                self._launch(launch)
        else:
            self._launch(launch)

    def _launch(self, launch: Launch) -> None:
        function = self._functions[launch.instance]
        if launch.shared_bytes > max(_DEFAULT_SHARED_BYTES, self._shared.get(launch.instance, 0)):
            self._check(self._driver.cuFuncSetAttribute(function, _DYNAMIC_SHARED, launch.shared_bytes))
            self._shared[launch.instance] = launch.shared_bytes
        stream = ctypes.c_void_p(torch.cuda.current_stream(self.device).cuda_stream)
        sizes = *launch.grid, launch.threads, 1, 1, launch.shared_bytes, stream
        array = launch.argument_array()
        if self.overlaps and torch.cuda.is_current_stream_capturing():
            config = _Config(*sizes, ctypes.pointer(_Attribute(_MAY_BEGIN_EARLY, 1)), 1)
            self._check(self._driver.cuLaunchKernelEx(ctypes.byref(config), function, array, None))
        else:
            self._check(self._driver.cuLaunchKernel(function, *sizes, array, None))
