"""Builds the kernels with the system's C++ compiler and runs launches on the CPU, through the real launchers."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llmdist.kernels.cuda_module import Launch
from llmdist.kernels.instances import ACTIVATIONS, FORMATS, HEAD_DIMS, QUERY_TILES, Instance, headers, program

HEADER = Path(__file__).parent / "host_shim.h"
COMPILER = shutil.which("g++")
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
_TAIL = """
#include <map>
#include <string>
static const std::map<std::string, void (*)(void**)> entries = {
%s};
extern "C" int shim_launch(
    const char* name, const unsigned* size, unsigned threads, size_t shared, int seed, void** a
) {
    const auto found = entries.find(name);
    const dim3 grid = {size[0], size[1], size[2]};
    return found == entries.end() ? 2 : shim::launch(found->second, grid, threads, shared, seed, a);
}
"""


class HostModule:
    """The kernels of one or more host builds; `seed` is the order of the threads, `launches` what has run."""

    def __init__(self, libraries: Mapping[Instance, Path], seed: int = 0) -> None:
        self._loaded: dict[Path, ctypes.CDLL] = {}
        self._libraries: dict[Instance, Path] = {}
        self.launches: list[Launch] = []
        self.seed = seed
        self.add(libraries)

    def add(self, libraries: Mapping[Instance, Path]) -> None:
        """Load more kernels."""
        self._libraries.update(libraries)
        self._loaded.update({path: ctypes.CDLL(str(path)) for path in set(libraries.values())})

    def has(self, instance: Instance) -> bool:
        """Whether the instance was built."""
        return instance in self._libraries

    def run(self, launch: Launch) -> None:
        """Run one launch to its end."""
        self.launches.append(launch)
        function = self._loaded[self._libraries[launch.instance]].shim_launch
        grid, array = (ctypes.c_uint * 3)(*launch.grid), launch.argument_array()
        name = launch.instance.expression.encode()
        status = function(name, grid, launch.threads, ctypes.c_size_t(launch.shared_bytes), self.seed, array)
        if status:
            raise RuntimeError(f"{launch.instance.expression}: threads wait for threads that never come")


def _source(instances: Sequence[Instance], replaced: Mapping[str, tuple[str, str]], folder: Path) -> str:
    """Write the sources, some of them changed, to `folder` and return the program."""
    for name, text in headers().items():
        old, new = replaced.get(name, ("", ""))
        assert old in text, f"{old!r} is not in {name}"
        (folder / name).write_text(text.replace(old, new, 1) if old else text)
    entry = "{{{0!r}, [](void** a) {{ shim::call({1}, a); }}}},\n"
    entries = "".join(
        entry.format(i.expression, i.expression).replace("'", '"') for i in instances
    )
    return program(instances) + _TAIL % entries


def build(
    instances: Sequence[Instance],
    folder: Path,
    flags: Sequence[str] = (),
    replaced: Mapping[str, tuple[str, str]] | None = None,
) -> dict[Instance, Path]:
    """Compile `instances` into a shared library and return where each is; `replaced` maps file to (old, new) text."""
    assert COMPILER is not None
    if not instances:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "kernels.cpp"
    text = _source(instances, replaced or {}, folder)
    options = ["-std=c++17", "-O1", "-fno-strict-aliasing", "-shared", "-fPIC", "-w", *flags]
    inputs = [HEADER.read_text(), text, *headers().values(), str(replaced), *options]
    key = hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:24]
    library = Path(tempfile.gettempdir()) / f"llmdist-host-kernels-{os.getuid()}" / f"{key}.so"
    if not library.is_file():
        source.write_text(text)
        library.parent.mkdir(exist_ok=True)
        partial = library.with_suffix(f".{os.getpid()}")
        command = [COMPILER, *options, "-include", str(HEADER), f"-I{folder}", str(source), "-o", str(partial)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"g++ failed:\n{done.stderr[:4000]}")
        partial.replace(library)
    return dict.fromkeys(instances, library)


def tested_instances() -> list[Instance]:
    """Return the instances of the numeric tests: every kernel with every format, type and tile that matters to it."""
    found = [Instance(kernel, (kind,)) for kernel in ("rms_norm", "begin_step") for kind in ACTIVATIONS.values()]
    for kind in ACTIVATIONS.values():
        for form in FORMATS.values():
            for kernel in ("norm_qkv", "norm_gateup_swiglu", "lm_head"):
                found.append(Instance(kernel, (kind, form, "1", "true")))
            found += [Instance("residual_gemv", (kind, form, "1", "true")), Instance("dequantise", (kind, form))]
    for form in FORMATS.values():
        found += [Instance("residual_gemv", ("Bf16", form, tiles, "false")) for tiles in ("2", "4")]
    for form in ("Dense", "Int8", "Int4<128>"):
        found += [Instance(k, ("Bf16", form, "1", "false")) for k in ("norm_qkv", "norm_gateup_swiglu", "lm_head")]
        found.append(Instance("residual_gemv", ("Bf16", form, "1", "false")))
    for size in HEAD_DIMS:
        for kind in ("Bf16", "Fp16") if size in (64, 128) else ("Bf16",):
            found += [Instance(kernel, (kind, str(size))) for kernel in ("rope_append", "combine")]
            found += [Instance("flash_decode", (kind, str(size), str(tile))) for tile in QUERY_TILES]
    return found


def build_all(folder: Path) -> dict[Instance, Path]:
    """Compile the tested instances, kernel by kernel, two compilers at a time."""
    instances = tested_instances()
    kernels = sorted({i.kernel for i in instances if i.kernel != "combine"}, key=lambda k: k != "flash_decode")
    parts = [[i for i in instances if i.file == f"{kernel}.cu"] for kernel in kernels]
    with ThreadPoolExecutor(2) as pool:
        built = pool.map(lambda pair: build(pair[1], folder / pair[0]), zip(kernels, parts, strict=True))
        return {instance: path for part in built for instance, path in part.items()}
