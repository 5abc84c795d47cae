"""One weights file, opened to be read past the page cache, and the check that it is still the same file.

Linux reads directly (O_DIRECT), macOS without caching (F_NOCACHE); elsewhere, and on file systems that refuse,
reads are plain and the pages are given up behind them where the system takes that advice.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import sys
import threading
from pathlib import Path

from ..errors import ModelError

__all__ = ["ALIGNMENT", "DirectFile"]

#: Offsets, lengths and addresses of direct reads are multiples of this.
ALIGNMENT = 4096
_SPOTS = 64
_SPOT_BYTES = 256


class DirectFile:
    """A file open for reading by several threads.

    Raises
    ------
    ModelError : the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._outdated: list[int] = []
        self._handle, self.direct = self._open()
        self._state = self._look()
        self._print = self._fingerprint()

    def _open(self) -> tuple[int, bool]:
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
        direct = getattr(os, "O_DIRECT", 0)
        if direct and hasattr(os, "preadv"):
            with contextlib.suppress(OSError):
                handle = os.open(self.path, flags | direct)
                if _reads_directly(handle):
                    return handle, True
                os.close(handle)
        try:
            handle = os.open(self.path, flags)
        except OSError as error:
            raise self._unreadable(error) from error
        if sys.platform == "darwin":
            import fcntl

            with contextlib.suppress(OSError):
                fcntl.fcntl(handle, fcntl.F_NOCACHE, 1)
        return handle, False

    def read_into(self, target: memoryview, offset: int, needed: int) -> None:
        """Read from `offset` into `target` until at least `needed` bytes are there.

        `offset`, the length and the address of `target` are multiples of `ALIGNMENT` for a direct file.
        """
        done = 0
        while done < needed:
            try:
                count = self._read(target[done:], offset + done)
            except OSError as error:
                raise self._unreadable(error) from error
            if done + count >= needed:
                break
            kept = (done + count) // ALIGNMENT * ALIGNMENT if self.direct else done + count
            if count == 0 or kept == done:
                raise ModelError(
                    f"Reading {needed} bytes at {offset} of {self.path} gave only {done + count}: the file was cut "
                    "short or replaced since it was opened; restore it and generate again."
                )
            done = kept
        if not self.direct and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._handle, offset, needed, os.POSIX_FADV_DONTNEED)

    def _read(self, target: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._handle, [target], offset)
        with self._lock:  # Windows: one position per handle
            os.lseek(self._handle, offset, os.SEEK_SET)
            found = os.read(self._handle, len(target))
        target[: len(found)] = found
        return len(found)

    def check(self) -> None:
        """See that the path still leads to what was opened; a file put back with the same content is taken up.

        Raises
        ------
        ModelError : the file is gone, has another size, or other content at the places that are compared.
        """
        state = self._look()
        if state == self._state:
            return
        if state[2] != self._state[2]:
            raise ModelError(
                f"{self.path} has {state[2]} bytes and had {self._state[2]} when it was opened: it was cut short or "
                "replaced; restore it and generate again, or load the model again."
            )
        if self._fingerprint() != self._print:
            raise ModelError(
                f"{self.path} holds other weights than when it was opened: it was replaced; restore it and generate "
                "again, or load the model again."
            )
        self._outdated.append(self._handle)  # a read of the block before may still be on its way
        self._handle, self.direct = self._open()
        self._state = state

    def _look(self) -> tuple[int, int, int, int]:
        try:
            stat = os.stat(self.path)
        except OSError as error:
            raise self._unreadable(error) from error
        return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns

    def _fingerprint(self) -> str:
        """Return a hash of the start of the file and of places spread over it."""
        size, digest = self._look()[2], hashlib.sha256()
        try:
            with open(self.path, "rb", buffering=0) as file:
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                for spot in range(_SPOTS):
                    file.seek(spot * max(0, size - _SPOT_BYTES) // (_SPOTS - 1))
                    digest.update(file.read(_SPOT_BYTES))
        except OSError as error:
            raise self._unreadable(error) from error
        return digest.hexdigest()

    def _unreadable(self, error: OSError) -> ModelError:
        reason = error.strerror or errno.errorcode.get(error.errno or 0, "unknown error")
        return ModelError(
            f"The weights in {self.path} can no longer be read ({reason}): restore the file, or check the disk, and "
            "generate again."
        )

    def close(self) -> None:
        """Close the handles; a second call does nothing."""
        handles, self._outdated, self._handle = [*self._outdated, self._handle], [], -1
        for handle in handles:
            if handle >= 0:
                os.close(handle)


def _reads_directly(handle: int) -> bool:
    """Whether the file system takes direct reads of aligned pieces."""
    with mmap.mmap(-1, ALIGNMENT) as page:
        try:
            os.preadv(handle, [page], 0)
        except OSError:
            return False
    return True
