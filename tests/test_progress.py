"""Progress of a load: what is told while it lasts, the sentence that stays, and a stop half-way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from llmdist import Session
from llmdist.demo import model_path
from llmdist.errors import LlmdistError
from llmdist.events import Event, Progressed, WorkFinished
from llmdist.model.checkpoint import Checkpoint
from llmdist.model.tokenizer import Tokenizer
from llmdist.planner import MaxIterations
from llmdist.progress import finished_words, progress_words

sys.path.insert(0, str(Path(__file__).parent / "calibration"))
from played import HARDWARE

PROMPT = "One day Anna"


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that opens the demo at int4 with an empty store of packed blocks; all sessions are unloaded."""
    monkeypatch.setattr("llmdist.model.quantize.cache_folder", lambda: tmp_path)
    sessions = []

    def open_demo(isolate: bool = False) -> Session:
        folder = model_path()
        session = Session("demo", Checkpoint.open(folder), Tokenizer.open(folder), HARDWARE, isolate)
        session.plan(context=64, precision="int4", disk=False, stop=MaxIterations(1))
        sessions.append(session)
        return session

    yield open_demo
    for session in sessions:
        session.unload()


def tokens_of(session: Session, heard: list[Event]) -> list[int]:
    """Return six tokens; `heard` takes every event."""
    return [step.token_id for step in session.generate(PROMPT, 6, on_event=heard.append)]


def test_a_load_tells_its_bytes_and_what_it_made(opened):
    """Bytes rise to the whole, quantised blocks are counted, and the next load finds them."""
    first, second = [], []
    tokens = tokens_of(opened(), first)
    assert tokens_of(opened(), second) == tokens
    for heard, made in ((first, True), (second, False)):
        done = [event.done_bytes for event in heard if isinstance(event, Progressed)]
        (end,) = [event for event in heard if isinstance(event, WorkFinished)]
        assert done[0] == 0 and done == sorted(set(done)) and done[-1] < end.nbytes
        assert end.made == ({"int4": 17} if made else {}) and end.kept
        assert ("made int4 for 17 blocks, kept for the next load." in finished_words(end)) is made


def test_a_small_move_says_only_what_comes(opened):
    """What stays in place is not read again, so nothing is told of it."""
    session = opened()
    tokens_of(session, [])
    heard: list[Event] = []
    session.on_progress = heard.append
    session.apply(session.plan_result.placement)
    assert heard == []


@pytest.mark.parametrize("isolate", [False, True])
def test_a_stop_half_way_leaves_nothing_half_loaded(opened, isolate):
    """The load ends at its next block with one sentence, no engine is left, the next generation is a fresh one's."""
    expected = tokens_of(opened(), [])
    session = opened(isolate)
    loads = []

    def stop(event: Event) -> None:
        if isinstance(event, Progressed) and event.share > 0.3:
            loads.append(event)
            session.cancel()

    with pytest.raises(LlmdistError, match=r"^The load was stopped after .* of .*; what was read is freed"):
        list(session.generate(PROMPT, 6, on_event=stop))
    assert len(loads) == 1 and session.engine_pid is None and session.text == "" and not session.generating
    assert tokens_of(session, []) == expected


def test_words_have_bytes_rate_and_time_left():
    """The lines that a person reads while it lasts and when it is done."""
    half = Progressed("load", "weights", 0.4, 480 * 10**6, 1200 * 10**6, 1.2)
    assert progress_words(half) == "loading weights: 480 MB of 1.2 GB (40%), 400 MB/s, about 2 s left"
    assert progress_words(Progressed("measure", "disk: reads", 0.5, 0, 0, 3)) == (
        "measuring disk: reads: 50%, about 3 s left"
    )
    done = WorkFinished("load", "weights", 1200 * 10**6, 3.1, {"int4": 24})
    assert finished_words(done) == (
        "Loaded 1.2 GB of weights in 3.10 s, 387 MB/s; made int4 for 24 blocks, kept for the next load."
    )
    assert finished_words(WorkFinished("measure", "this machine", 0, 6.2, kept=False)) == (
        "Measured this machine in 6.20 s; not kept, as other work ran beside it."
    )
