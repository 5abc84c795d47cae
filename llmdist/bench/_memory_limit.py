"""A process and its children under one memory limit, page cache included: Linux control groups, version 1 or 2."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["limited_group", "within"]

_LIMIT_FILES = ("memory.limit_in_bytes", "memory.max")


@contextmanager
def limited_group(nbytes: int) -> Iterator[Path | None]:
    """Yield a fresh control group of `nbytes`; None where none can be made (no root, no such controller)."""
    root = Path("/sys/fs/cgroup/memory")
    group = (root if root.is_dir() else root.parent) / f"llmdist-bench-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        limit = next((group / name for name in _LIMIT_FILES if (group / name).exists()), None)
        if limit is not None:
            limit.write_text(str(nbytes))
            with suppress(OSError):  # swapping would hide what a limit costs
                (group / "memory.swap.max").write_text("0")
        yield group if limit is not None else None
    finally:
        with suppress(OSError):
            group.rmdir()


def within(group: Path | None, command: Sequence[str]) -> list[str]:
    """Return `command` started inside `group`."""
    if group is None:
        return list(command)
    return ["sh", "-c", f'echo $$ > {shlex.quote(str(group / "cgroup.procs"))} && exec "$@"', "sh", *command]
