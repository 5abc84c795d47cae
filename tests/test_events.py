"""What a session keeps of its events: the last search and generation, never all of them."""

from __future__ import annotations

from llmdist.events import (
    BlockComputed,
    CopyFinished,
    Event,
    GenerationStarted,
    LatestRecorder,
    PlanFinished,
    PlanStarted,
    TokenProduced,
)


def token(index: int) -> TokenProduced:
    """Return a token with one copy and one compute."""
    copies, computes = (CopyFinished("a", 0.0, 1.0, 8, 0),), (BlockComputed("a", 1.0, 2.0, "cpu"),)
    return TokenProduced(index, index, "x", float(index), 1.0, 8, {"cpu": 1}, copies, computes)


def test_only_the_last_search_and_the_last_generation_are_kept() -> None:
    """A new one of a kind replaces the one before, and leaves the other kind alone."""
    recorder = LatestRecorder()
    search: list[Event] = [PlanStarted(("a",), (("x",),), ("cpu",), "latency"), PlanFinished(3, 0.1, 1.0, 1.0, "time")]
    generation: list[Event] = [GenerationStarted(4, 1.0, 1.0, {"cpu": 9}), token(0), token(1)]
    for event in [*search, *generation, *generation[:2], search[0]]:
        recorder(event)
    assert recorder.events == [search[0], *generation[:2]]
    assert recorder.recent(1) == [generation[1]]


def test_old_tokens_of_a_long_generation_lose_their_spans_and_nothing_else() -> None:
    """Texts and times of all tokens stay, copies and computes of the last few."""
    recorder = LatestRecorder(detailed=3)
    recorder(GenerationStarted(4, 1.0, 1.0, {"cpu": 9}))
    for index in range(5):
        recorder(token(index))
    tokens = [event for event in recorder.events if isinstance(event, TokenProduced)]
    assert [bool(t.copies and t.computes) for t in tokens] == [False, False, True, True, True]
    assert [t.time_seconds for t in tokens] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_record_shifts_and_crosses_to_another_process_whole() -> None:
    """Pickling keeps every field; a shift moves both ends."""
    import pickle

    done = token(0)
    assert pickle.loads(pickle.dumps(done)) == done
    assert done.copies[0].shifted(0.5) == CopyFinished("a", -0.5, 0.5, 8, 0)
    assert done.computes[0].shifted(0.5) == BlockComputed("a", 0.5, 1.5, "cpu")
