"""Which template instances a model needs: names that NVRTC, the tests' C++ compiler and the launchers share.

An `Instance` is one kernel with its template arguments filled in. Nothing here compiles.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ..errors import LlmdistError

__all__ = [
    "ACTIVATIONS",
    "FORMATS",
    "HEAD_DIMS",
    "QUERY_TILES",
    "VECTOR_TILES",
    "Instance",
    "headers",
    "program",
    "source_hash",
    "source_text",
]

FOLDER = Path(__file__).parent / "cuda"
#: Activations as torch and the planner name them, and their C++ type.
ACTIVATIONS = {"bf16": "Bf16", "fp16": "Fp16"}
#: Weight formats and their C++ type; `dense` holds weights in the activations' own type.
FORMATS = {"dense": "Dense", "int8": "Int8", "int4g128": "Int4<128>", "int4g64": "Int4<64>", "int4g32": "Int4<32>"}
HEAD_DIMS = (64, 80, 96, 128, 256)
#: Heads that share one reading of the keys, and tiles of 8 vectors that share one reading of the weights.
QUERY_TILES = (1, 2, 4)
VECTOR_TILES = (1, 2, 4)
_FILES = {"combine": "flash_decode"}


@dataclass(frozen=True, slots=True, order=True)
class Instance:
    """One kernel of `kernel`.cu with template `arguments`, such as ``("Bf16", "Int4<128>", "1", "true")``."""

    kernel: str
    arguments: tuple[str, ...]

    @property
    def expression(self) -> str:
        """Return the C++ name, such as ``lm_head<Bf16, Dense, 1, true>``."""
        return f"{self.kernel}<{', '.join(self.arguments)}>"

    @property
    def file(self) -> str:
        """Return the name of the source file."""
        return f"{_FILES.get(self.kernel, self.kernel)}.cu"


def source_text(name: str) -> str:
    """Return the text of one source file."""
    path = FOLDER / name
    if not path.is_file():
        raise LlmdistError(f"The kernel source {name} is missing from {FOLDER}: reinstall llmdist.")
    return path.read_text(encoding="utf-8")


def headers() -> dict[str, str]:
    """Return every source file by name: a program includes them as headers."""
    return {path.name: source_text(path.name) for path in sorted(FOLDER.glob("*.cu*"))}


def program(instances: Iterable[Instance]) -> str:
    """Return the program that includes the files of `instances`."""
    files = sorted({instance.file for instance in instances})
    return "".join(f'#include "{name}"\n' for name in files)


def source_hash() -> str:
    """Return the hash of all sources: a changed kernel is never taken from a cache."""
    digest = sha256()
    for name, text in headers().items():
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()
