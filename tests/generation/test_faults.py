"""What goes wrong while a generation runs: the text is kept, and the session goes on afterwards."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import write_tiny

import llmdist
from llmdist.errors import LlmdistError
from llmdist.events import PlacementChanged
from llmdist.generation.memory_watch import RESERVE_BYTES, MemoryWatch
from llmdist.paths import cache_folder

PROMPT = [5, 77, 300, 12]
NEW = 16


def streamed(folder: Path, isolate: bool) -> llmdist.Session:
    """Return a session that streams at least half of its blocks."""
    session = llmdist.load(str(folder), isolate=isolate)
    roomy = session.plan(context=64, seconds=0.2)
    weights = sum(block.weight_bytes("fp32") for block in session.profile.blocks)
    session.plan(ram=roomy.prediction.peak_bytes["cpu"] - weights // 3, context=64, seconds=0.2)
    return session


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[llmdist.Session]:
    """Yield a streaming session with its engine in a child process."""
    session = streamed(write_tiny(tmp_path_factory.mktemp("models") / "tiny", eos_token_id=None), True)
    yield session
    session.unload()


def broken_run(session: llmdist.Session, at: int, damage: object) -> tuple[list[int], str]:
    """Generate, call `damage` after token `at`, and return the tokens and the error."""
    tokens: list[int] = []
    with pytest.raises(LlmdistError) as caught:
        for step in session.generate(PROMPT, NEW):
            tokens.append(step.token_id)
            if step.index == at:
                damage()  # type: ignore[operator]
    return tokens, str(caught.value)


@pytest.mark.parametrize("fault", ["cut", "gone", "replaced"])
def test_a_file_that_breaks_keeps_the_text_and_may_be_restored(session: llmdist.Session, fault: str) -> None:
    """The error names the file, the text so far stays, and the restored file gives the whole text without a reload."""
    file = session.checkpoint.folder / "model.safetensors"
    expected = [step.token_id for step in session.generate(PROMPT, NEW)]
    content, pid = file.read_bytes(), session.engine_pid

    def damage() -> None:
        if fault == "cut":
            os.truncate(file, 4000)
        elif fault == "gone":
            file.unlink()
        else:
            other = file.with_name("other")
            other.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
            os.replace(other, file)

    tokens, error = broken_run(session, 4, damage)
    assert tokens == expected[: len(tokens)] and len(tokens) >= 5
    assert session.text == session.tokenizer.decode(tokens) and session.stats.finish_reason == "error"
    assert "model.safetensors" in error and "restore" in error
    file.write_bytes(content)
    assert [step.token_id for step in session.generate(PROMPT, NEW)] == expected
    assert session.engine_pid == pid, "the engine was loaded again"


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="the fault is put into preadv")
@pytest.mark.parametrize("fault", ["short", "error"])
def test_a_failing_disk_keeps_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Short reads and input/output errors in mid-generation are one sentence; the next generation is whole."""
    session = streamed(write_tiny(tmp_path / "tiny", eos_token_id=None), False)
    expected = [step.token_id for step in session.generate(PROMPT, NEW)]
    real = os.preadv

    def fail(handle: int, buffers: object, offset: int) -> int:
        if fault == "short":
            return 0
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    tokens, error = broken_run(session, 3, lambda: monkeypatch.setattr(os, "preadv", fail))
    assert ("gave only 0" if fault == "short" else "Input/output error") in error
    assert tokens == expected[: len(tokens)] and session.text == session.tokenizer.decode(tokens)
    monkeypatch.setattr(os, "preadv", real)
    assert [step.token_id for step in session.generate(PROMPT, NEW)] == expected
    session.unload()


@pytest.fixture
def full_disk() -> Iterator[Callable[[bool], None]]:
    """Give a switch: True puts a file system of 128 KiB where packed blocks are kept, False takes it away."""
    folder = packed_folder()
    folder.mkdir(parents=True, exist_ok=True)
    mounted = False

    def switch(full: bool) -> None:
        nonlocal mounted
        command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs"] if full else ["umount"]
        done = subprocess.run([*command, str(folder)], capture_output=True, text=True)
        if done.returncode and full:
            pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
        mounted = full

    yield switch
    if mounted:
        switch(False)


def packed_folder() -> Path:
    """Return where packed blocks are kept."""
    return cache_folder() / "packed"


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system")
@pytest.mark.parametrize("rests", ["in memory", "on disk"])
def test_a_full_disk_while_packed_blocks_are_kept(
    tmp_path: Path, full_disk: Callable[[bool], None], rests: str
) -> None:
    """Resident blocks run on and a note says so; streamed ones are one error; no half file; then all is as before."""
    session = llmdist.load(str(write_tiny(tmp_path / "tiny", eos_token_id=None)))
    try:
        roomy = session.plan(context=64, precision="int8", seconds=0.2)
        full_disk(True)
        weights = sum(block.weight_bytes("int8") for block in session.profile.blocks)
        cap = None if rests == "in memory" else roomy.prediction.peak_bytes["cpu"] - weights // 2
        session.plan(context=64, precision="int8", ram=cap, seconds=0.2)
        if rests == "in memory":
            tokens = [step.token_id for step in session.generate(PROMPT, NEW)]
            (note,) = session.messages
            assert "No space left on device" in note and "goes on without" in note and str(packed_folder()) in note
        else:
            with pytest.raises(LlmdistError, match=r"the disk refused .No space left on device.: free some space"):
                list(session.generate(PROMPT, NEW))
            assert session.stats.finish_reason == "error"
        kept = [file for file in packed_folder().rglob("*") if file.is_file()]
        assert all(file.suffix == ".int8" for file in kept), "a half file was left"
        full_disk(False)
        again = [step.token_id for step in session.generate(PROMPT, NEW)]
        assert len(again) == NEW
        if rests == "in memory":
            assert again == tokens
            session.plan(context=64, precision="int8", seconds=0.2)
            assert [step.token_id for step in session.generate(PROMPT, NEW)] == tokens
            assert len(list(packed_folder().rglob("*.int8"))) >= len(session.profile.blocks) - 1
            assert len(session.messages) == 1
    finally:
        session.unload()


def test_a_smaller_cap_during_generation_goes_on_from_the_last_token(session: llmdist.Session) -> None:
    """plan(ram=smaller) between two tokens moves blocks out; the tokens are the same, the engine too."""
    roomy = session.plan(context=64, seconds=0.2)
    expected = [step.token_id for step in session.generate(PROMPT, NEW)]
    weights = sum(block.weight_bytes("fp32") for block in session.profile.blocks)
    pid, tokens, moved, changes = session.engine_pid, [], [], []
    for step in session.generate(PROMPT, NEW, on_event=changes.append):
        tokens.append(step.token_id)
        moved.append(step.bytes_moved)
        if step.index == 4:
            session.plan(ram=roomy.prediction.peak_bytes["cpu"] - weights // 3, seconds=0.2)
    assert tokens == expected and session.engine_pid == pid
    assert moved[4] < moved[-1] and any(isinstance(event, PlacementChanged) for event in changes)


def test_the_engine_shrinks_when_free_memory_runs_short(session: llmdist.Session) -> None:
    """When another process takes the memory, blocks move out, the session says so, and the tokens are the same."""
    roomy = session.plan(context=64, seconds=0.2)
    planned = roomy.prediction.peak_bytes["cpu"]
    expected = [step.token_id for step in session.generate(PROMPT, NEW)]
    weights = sum(block.weight_bytes("fp32") for block in session.profile.blocks)
    free, before = 1 << 40, session._watch
    session._watch = MemoryWatch(lambda: free, period=0)
    tokens = []
    for step in session.generate(PROMPT, NEW):
        tokens.append(step.token_id)
        if step.index == 4:
            used = step.memory_bytes["cpu"]
            free = max(0, planned - used) + RESERVE_BYTES - weights // 3
        if step.index == 5:
            free = 1 << 40
    session._watch = before
    assert tokens == expected
    assert session.plan_result is not None
    assert session.plan_result.prediction.peak_bytes["cpu"] <= planned - weights // 4
    assert "Free memory fell" in session.messages[-1]


def test_a_watch_asks_for_what_is_missing_and_not_too_often() -> None:
    """Missing is what the engine may still take, plus the reserve, minus what is free."""
    watch = MemoryWatch(lambda: RESERVE_BYTES + 10, period=0)
    assert watch.shortage(100, {"cpu": 30}) == 60
    assert watch.shortage(100, {"cpu": 95}) == 0
    assert watch.shortage(100, {"cpu": 500}) == 0
    rare = MemoryWatch(lambda: 0, period=3600)
    assert rare.shortage(100, {"cpu": 30}) > 0
    assert rare.shortage(100, {"cpu": 30}) == 0


@pytest.mark.parametrize("temperature", [0, 1])
def test_weights_that_are_not_numbers_are_told(tmp_path: Path, temperature: float) -> None:
    """Not an empty text, and no words of a library: one sentence, whether the best token or a drawn one is asked."""
    folder = write_tiny(tmp_path / "tiny", eos_token_id=None)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"].fill_(torch.nan)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    session = llmdist.load(str(folder), isolate=False)
    with pytest.raises(LlmdistError, match="not a number: weights that are NaN"):
        list(session.generate(PROMPT, 2, temperature=temperature))
    session.unload()
