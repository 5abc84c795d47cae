"""``python -m llmdist.bench cpu|gpu|planner|stream [options]``: each name is a module of this package with a `main`."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

from ..errors import LlmdistError

__all__ = ["main"]

_SHARED = ("__main__", "rows", "synthetic", "cpu_engines", "gguf_files", "quality")


def benchmarks() -> list[str]:
    """Return the names of the benchmarks that are there: modules of this package that are no shared part."""
    names = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return sorted(name for name in names if name not in _SHARED and not name.startswith("_"))


def main(arguments: list[str]) -> int:
    """Run one benchmark and return the exit status."""
    known = benchmarks()
    if not arguments or arguments[0] not in known:
        asked = f"{arguments[0]!r} was asked" if arguments else "no benchmark was named"
        print(f"python -m llmdist.bench: {asked}; there are {', '.join(known) or 'none'}.", file=sys.stderr)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    module = importlib.import_module(f"{__package__}.{arguments[0]}")
    try:
        return int(module.main(arguments[1:]) or 0)
    except LlmdistError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
