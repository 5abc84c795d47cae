"""Reads byte ranges of weights files into memory at the speed of the disk, past the page cache.

A few threads keep several requests in flight. Reads are direct where the system has it, so the page cache never
becomes a second copy of the model; each thread owns one aligned piece of memory, and that is all the reader takes.
A file that changed since it was first read is noticed before its bytes are used. It knows no blocks or placements.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..buffers import aligned_buffer
from .direct_file import ALIGNMENT, DirectFile

__all__ = ["DEPTH", "PIECE_BYTES", "Part", "Pending", "Reader"]

#: Requests in flight, and the bytes of each: more gain nothing on the disks that were measured.
DEPTH = 4
PIECE_BYTES = 2 << 20
#: Small tensors that lie this close together in the file come with one request: a gap costs less than a request.
GAP_BYTES = 64 << 10
_SERIAL_ELEMENTS = 1 << 15  # torch converts up to this many in the calling thread alone


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Wanted: a stored tensor from `offset` of the file `path`, of type `stored`, in `target` (1-D, contiguous, CPU).

    A `target` of another type is converted on the way.
    """

    path: Path
    offset: int
    stored: torch.dtype
    target: Tensor


class Pending:
    """A request on its way; `started_seconds` and `finished_seconds` are of its pieces, on the monotonic clock."""

    def __init__(self, pieces: int) -> None:
        self._left, self._lock, self._done = pieces, threading.Lock(), threading.Event()
        self._error: BaseException | None = None
        self.started_seconds = self.finished_seconds = time.monotonic()
        self._begun = False
        if not pieces:
            self._done.set()

    def _begin(self) -> None:
        with self._lock:
            if not self._begun:
                self.started_seconds, self._begun = time.monotonic(), True

    def _finish(self, error: BaseException | None) -> None:
        with self._lock:
            self._left -= 1
            self._error = self._error or error
            if self._left == 0:
                self.finished_seconds = time.monotonic()
                self._done.set()

    @property
    def failed(self) -> bool:
        """Whether a piece could not be read; the rest need not be."""
        return self._error is not None

    def wait(self) -> None:
        """Wait until every piece has ended; the first error is raised here."""
        self._done.wait()
        if self._error is not None:
            raise self._error


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """A run of one tensor in the file, and where it goes."""

    file: DirectFile
    offset: int
    stored: torch.dtype
    target: Tensor

    @property
    def nbytes(self) -> int:
        return self.target.numel() * self.stored.itemsize

    @property
    def end(self) -> int:
        return self.offset + self.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """One request to the disk: neighbouring cuts of one file, in the file's order."""

    cuts: tuple[_Cut, ...]
    pending: Pending


def _joined(cuts: Sequence[_Cut], limit: int) -> list[tuple[_Cut, ...]]:
    """Group cuts that one request of at most `limit` bytes brings."""
    groups: list[list[_Cut]] = []
    for cut in sorted(cuts, key=lambda cut: (str(cut.file.path), cut.offset)):
        first, last = (groups[-1][0], groups[-1][-1]) if groups else (cut, cut)
        gap, whole = cut.offset - last.end, cut.end - first.offset
        if groups and cut.file is last.file and 0 <= gap <= GAP_BYTES and whole <= limit:
            groups[-1].append(cut)
        else:
            groups.append([cut])
    return [tuple(group) for group in groups]


class Reader:
    """Threads that read pieces of files. `depth` requests of at most `piece_bytes` are in flight."""

    def __init__(self, depth: int = DEPTH, piece_bytes: int = PIECE_BYTES) -> None:
        self.depth, self.piece_bytes = depth, piece_bytes
        self._files: dict[Path, DirectFile] = {}
        self._files_lock = threading.Lock()
        self._pieces: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        stride = _bounce_bytes(piece_bytes)
        bounce = aligned_buffer(depth * stride)  # one arena: large pages need room, and make direct reads cheaper
        self._threads = [
            threading.Thread(
                target=self._run, args=(bounce[i * stride : (i + 1) * stride].numpy(),),
                name=f"llmdist-reader-{i}", daemon=True,
            )
            for i in range(depth)
        ]  # fmt: skip
        for thread in self._threads:
            thread.start()

    @property
    def nbytes(self) -> int:
        """Return the bytes that the reader's own buffers take."""
        return self.depth * _bounce_bytes(self.piece_bytes)

    def submit(self, parts: Sequence[Part]) -> Pending:
        """Start to read `parts` and return at once; the targets are valid after `Pending.wait`.

        Raises
        ------
        ModelError : a file is gone, or is no longer the one that was read first.
        """
        groups = _joined([cut for part in parts for cut in self._cut(part)], self.piece_bytes)
        pending = Pending(len(groups))
        for cuts in groups:
            self._pieces.put(_Piece(cuts, pending))
        return pending

    def read(self, parts: Sequence[Part]) -> int:
        """Read `parts` and return the bytes that came from the files; raises as `submit` and for a failed read."""
        self.submit(parts).wait()
        return sum(part.target.numel() * part.stored.itemsize for part in parts)

    def _cut(self, part: Part) -> Iterator[_Cut]:
        """Cut at multiples of the piece in the file, so that all but the ends are aligned."""
        file, size = self._file(part.path), part.stored.itemsize
        start, count = 0, part.target.numel()
        while start < count:
            at = part.offset + start * size
            room = self.piece_bytes - at % self.piece_bytes
            taken = min(count - start, -(-room // size))
            yield _Cut(file, at, part.stored, part.target[start : start + taken])
            start += taken

    def _file(self, path: Path) -> DirectFile:
        with self._files_lock:
            file = self._files.get(path)
            if file is None:
                file = self._files[path] = DirectFile(path)
            file.check()
            return file

    def _run(self, bounce: np.ndarray[Any, Any]) -> None:
        while (piece := self._pieces.get()) is not None:
            error: BaseException | None = None
            try:
                piece.pending._begin()
                if not piece.pending.failed:
                    with torch.inference_mode():  # targets may be inference tensors
                        _bring(piece.cuts, bounce)
            except BaseException as caught:  # handed to the thread that waits
                error = caught
            piece.pending._finish(error)
            del piece  # or the thread would hold the target until its next piece

    def close(self) -> None:
        """Stop the threads after what is on its way, and close the files."""
        for _ in self._threads:
            self._pieces.put(None)
        for thread in self._threads:
            thread.join()
        for file in self._files.values():
            file.close()
        self._files.clear()


def _bounce_bytes(piece_bytes: int) -> int:
    return piece_bytes + 2 * ALIGNMENT


def _bring(cuts: tuple[_Cut, ...], bounce: np.ndarray[Any, Any]) -> None:
    """Read one request: straight into its target where everything is aligned, else through the bounce buffer."""
    first, last = cuts[0], cuts[-1]
    if len(cuts) == 1 and first.stored == first.target.dtype:
        target = first.target.view(torch.uint8).numpy()
        if not (first.offset | first.nbytes | target.ctypes.data) % ALIGNMENT:
            first.file.read_into(target.data, first.offset, first.nbytes)
            return
    start = first.offset // ALIGNMENT * ALIGNMENT
    whole = -(-(last.end - start) // ALIGNMENT) * ALIGNMENT
    first.file.read_into(bounce.data[:whole], start, last.end - start)
    for cut in cuts:
        _place(bounce[cut.offset - start : cut.end - start], cut)


def _place(found: np.ndarray[Any, Any], cut: _Cut) -> None:
    """Put the bytes of one cut into its target, converted if need be."""
    if cut.stored == cut.target.dtype:
        np.copyto(cut.target.view(torch.uint8).numpy(), found)  # numpy copies without the interpreter's lock
        return
    source = torch.from_numpy(found.copy() if cut.offset % cut.stored.itemsize else found).view(cut.stored)
    for start in range(0, source.numel(), _SERIAL_ELEMENTS):
        cut.target[start : start + _SERIAL_ELEMENTS].copy_(source[start : start + _SERIAL_ELEMENTS])
