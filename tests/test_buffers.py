"""The memory of weights."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest

from llmdist.buffers import aligned_buffer


@pytest.mark.parametrize("nbytes", [0, 1, 5000, 9 << 20])
def test_a_buffer_is_zeroed_aligned_and_as_large_as_asked(nbytes: int) -> None:
    """Direct reads need the alignment; the padding of packed weights needs the zeros."""
    buffer = aligned_buffer(nbytes)
    assert buffer.numel() == nbytes and not buffer.any()
    assert nbytes == 0 or buffer.data_ptr() % 4096 == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_buffer_is_private_memory_that_may_lie_in_large_pages() -> None:
    """Shared memory gets no large pages on most systems, whatever is asked for it."""
    buffer = aligned_buffer(9 << 20)
    sections = Path("/proc/self/smaps").read_text().split("VmFlags:")
    for before, after in pairwise(sections):
        head = next(line for line in before.splitlines() if "-" in line.split(" ")[0] and ":" not in line.split(" ")[0])
        start, end = (int(edge, 16) for edge in head.split(" ")[0].split("-"))
        if start <= buffer.data_ptr() < end:
            assert head.split(" ")[1] == "rw-p"
            assert "hg" in after.splitlines()[0].split() or not Path("/sys/kernel/mm/transparent_hugepage").exists()
            return
    pytest.fail("the buffer is in no section")
