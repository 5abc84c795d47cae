"""The reader brings the right bytes past the page cache, and says what is wrong with a file."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
from pathlib import Path

import pytest
import torch

from llmdist.buffers import aligned_buffer
from llmdist.errors import ModelError
from llmdist.model.reader import Part, Reader

PIECE = 1 << 16


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file of a megabyte and a bit of random bytes."""
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom((1 << 20) + 777))
    return path


@pytest.fixture
def reader():
    """Yield a reader with small pieces."""
    reader = Reader(piece_bytes=PIECE)
    yield reader
    reader.close()


@pytest.mark.parametrize("offset", [0, 1, 40, 4096, 65530])
@pytest.mark.parametrize("shift", [0, 64])
@pytest.mark.parametrize("nbytes", [1, 4096, 65536, 300_001])
def test_any_range_arrives_as_it_is_stored(file: Path, reader: Reader, offset: int, shift: int, nbytes: int) -> None:
    """Aligned and unaligned offsets, targets and lengths, up to the last byte of the file."""
    buffer = aligned_buffer(nbytes + shift)
    for start in (offset, file.stat().st_size - nbytes):
        assert reader.read([Part(file, start, torch.uint8, buffer[shift:])]) == nbytes
        assert bytes(buffer[shift:].numpy()) == file.read_bytes()[start : start + nbytes]


@pytest.mark.parametrize("offset", [0, 3, 8])
def test_types_are_converted_on_the_way(file: Path, reader: Reader, offset: int) -> None:
    """Stored bfloat16 arrives as float32, also from an odd offset."""
    values = torch.randn(100_000).bfloat16()
    raw = bytearray(file.read_bytes())
    raw[offset : offset + values.nbytes] = values.view(torch.uint8).numpy().tobytes()
    file.write_bytes(raw)
    target = torch.empty(100_000)
    reader.read([Part(file, offset, torch.bfloat16, target)])
    assert torch.equal(target, values.float())


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which pages are in memory")
def test_the_page_cache_holds_no_second_copy(file: Path, reader: Reader) -> None:
    """After a read of the whole file less than a tenth of its pages are in memory."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    size = file.stat().st_size
    reader.read([Part(file, 0, torch.uint8, torch.empty(size, dtype=torch.uint8))])
    with file.open("r+b") as handle, mmap.mmap(handle.fileno(), size) as mapped:
        pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        assert ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), pages) == 0
        held = sum(page & 1 for page in pages)
    assert held < 0.35 * len(pages)


def test_a_file_cut_short_is_named_and_may_come_back(file: Path, reader: Reader) -> None:
    """A cut file is an error before its bytes are used; the same content put back is read again."""
    content = file.read_bytes()
    part = Part(file, 0, torch.uint8, torch.empty(len(content), dtype=torch.uint8))
    reader.read([part])
    os.truncate(file, 1000)
    with pytest.raises(ModelError, match=r"weights\.bin has 1000 bytes.*cut short or replaced"):
        reader.read([part])
    file.unlink()
    with pytest.raises(ModelError, match="can no longer be read"):
        reader.read([part])
    file.write_bytes(content)
    assert reader.read([part]) == len(content)


def test_a_file_replaced_by_another_of_its_size_is_noticed(file: Path, reader: Reader, tmp_path: Path) -> None:
    """Other content under the same name is an error; the same content under a new inode is not."""
    content = file.read_bytes()
    part = Part(file, 0, torch.uint8, torch.empty(1000, dtype=torch.uint8))
    reader.read([part])
    for text, fails in ((content, False), (os.urandom(len(content)), True), (content, False)):
        (tmp_path / "new").write_bytes(text)
        os.replace(tmp_path / "new", file)
        if fails:
            with pytest.raises(ModelError, match="holds other weights"):
                reader.read([part])
        else:
            reader.read([part])


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="the fault is put into preadv")
@pytest.mark.parametrize("fault", ["short", "error"])
def test_a_disk_that_fails_is_one_sentence(
    file: Path, reader: Reader, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that ends early and an input/output error name the file; the next read works."""
    target = torch.empty(500_000, dtype=torch.uint8)
    part = Part(file, 0, torch.uint8, target)
    reader.read([part])
    real = os.preadv

    def broken(handle: int, buffers: list[memoryview], offset: int) -> int:
        if offset < 200_000:
            return real(handle, buffers, offset)
        if fault == "error":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return 0

    monkeypatch.setattr(os, "preadv", broken)
    words = "gave only" if fault == "short" else "Input/output error"
    with pytest.raises(ModelError, match=words):
        reader.read([part])
    monkeypatch.setattr(os, "preadv", real)
    reader.read([part])
    assert bytes(target.numpy()) == file.read_bytes()[:500_000]


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="the short reads are put into preadv")
def test_a_read_in_several_goes_is_put_together(
    file: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that returns a part of each read, as signals can make it, still gives every byte."""
    real = os.preadv

    def in_part(handle: int, buffers: list[memoryview], offset: int) -> int:
        return real(handle, [memoryview(buffers[0])[: 3 * 4096]], offset)

    monkeypatch.setattr(os, "preadv", in_part)
    target = torch.empty(300_000, dtype=torch.uint8)
    reader.read([Part(file, 100, torch.uint8, target)])
    assert bytes(target.numpy()) == file.read_bytes()[100:300_100]
