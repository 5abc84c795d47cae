"""The schedule on streams, run on a device that computes nothing: no race, every wait needed, the planner's time."""

from __future__ import annotations

import pytest

from llmdist.bench.virtual import SCENARIOS, run
from llmdist.executor.schedule import build_schedule
from llmdist.executor.stream_program import StreamProgram, build_program
from llmdist.executor.virtual import races, run_virtual, seconds_per_token
from llmdist.planner.placement import Assignment, Placement
from llmdist.planner.stop import MaxIterations

BLOCKS = ("embed", "layers.0.attention", "layers.0.mlp", "layers.1.attention", "layers.1.mlp", "head")
PLACEMENTS = {
    "two streamed": ("cpu", "cuda:0", "cpu>cuda:0", "cuda:0", "cpu>cuda:0", "cuda:0"),
    "three through two slots": ("cpu", "cpu>cuda:0", "cpu>cuda:0", "cuda:0", "cpu>cuda:0", "cuda:0"),
    "from disk": ("disk>cpu", "disk>cuda:0", "cpu>cuda:0", "disk>cuda:0", "disk>cuda:0", "cuda:0"),
    "two devices": ("cpu", "cuda:0", "cpu>cuda:0", "cpu", "disk>cpu", "cuda:0"),
    "split": ("cpu", "cuda:0", "cuda:0 split:3", "cpu>cuda:0", "cuda:0 split:5", "cuda:0"),
    "split and streamed": ("cpu", "cuda:0", "cpu>cuda:0 split:3", "cpu>cuda:0", "cpu>cuda:0 split:5", "cuda:0"),
    "two GPUs": ("cpu", "cuda:0", "cpu>cuda:1", "cuda:1", "cpu>cuda:0", "cuda:1"),
}


def placement(name: str) -> Placement:
    """Return a placement from ``home>exec`` words."""
    words = [[*word.partition(" ")[0].split(">"), word.partition(" ")[2]] for word in PLACEMENTS[name]]
    choices = [Assignment.from_text(f"{word[-2]} {word[0]} bf16 {word[-1]}") for word in words]
    return Placement(BLOCKS, tuple(choices))


def split_blocks(chosen: Placement) -> frozenset[str]:
    """Return the blocks that the CPU and a GPU compute together."""
    return frozenset(block for block, choice in chosen.items() if choice.mode == "split")


def program(name: str, tokens: int = 4) -> StreamProgram:
    """Return the stream program of a placement with two slots."""
    chosen = placement(name)
    return build_program(build_schedule(chosen, 2), tokens, split_blocks(chosen))


@pytest.mark.parametrize("name", PLACEMENTS)
def test_the_program_has_no_race(name: str) -> None:
    """Every two operations that touch the same memory are ordered by events."""
    assert races(program(name)) == []


@pytest.mark.parametrize("name", PLACEMENTS)
def test_every_missing_wait_is_found(name: str) -> None:
    """Each wait is left out in turn, and the vector clocks show the race; so no wait is idle either."""
    whole = program(name)
    waits = [i for i, operation in enumerate(whole.operations) if operation.kind == "wait"]
    assert waits
    missed = [whole.operations[i].subject for i in waits if not races(whole.without(i))]
    assert missed == []


@pytest.mark.parametrize("name", PLACEMENTS)
def test_every_event_is_recorded_before_it_is_waited_for(name: str) -> None:
    """CUDA lets a wait on an event that was never recorded pass at once."""
    recorded = set()
    for operation in program(name).operations:
        if operation.kind == "record":
            recorded.add(operation.subject)
        elif operation.kind == "wait":
            assert operation.subject in recorded


def test_a_split_layer_has_one_join() -> None:
    """Two split layers of a token join twice, and the CPU's share runs beside the GPU's own."""
    whole = program("split")
    assert [whole.count("join", token) for token in range(4)] == [2, 2, 2, 2]
    spans = run_virtual(whole, lambda operation: float(operation.kind in ("share", "compute")))
    share, own = (
        next(s for s in spans if (s.operation.kind, s.operation.subject, s.operation.token) == (kind, BLOCKS[2], 1))
        for kind in ("share", "compute")
    )
    assert (share.start, share.end) == (own.start, own.end)


def test_copies_overlap_computes_and_cross_the_border_of_tokens() -> None:
    """While the tail of a token computes, the first copy of the next one runs."""
    spans = run_virtual(program("two streamed"), lambda operation: 1.0 if operation.kind == "copy" else 0.1)
    copies = [s for s in spans if s.operation.kind == "copy" and s.operation.token == 2]
    tail = next(s for s in spans if s.operation.subject == "head" and s.operation.token == 1)
    assert copies[0].start < tail.end
    assert seconds_per_token(spans, skip=1) == pytest.approx(2.0)  # two copies of a second hide everything else


@pytest.mark.parametrize("name", SCENARIOS)
def test_virtual_time_is_the_time_of_the_plan(name: str) -> None:
    """No race, no idle wait, the plan's seconds and bytes per token, one join per split block, 5 % above the bound."""
    found = run(SCENARIOS[name], MaxIterations(12))
    assert (found.races, found.missed) == (0, 0) and found.waits > 100
    assert 0.93 * found.planned_seconds < found.seconds <= 1.01 * found.planned_seconds  # its RAM has no bus
    assert found.seconds <= 1.05 * found.bound_seconds
    assert found.copied_bytes == pytest.approx(found.planned_bytes, rel=0.01) and found.copied_bytes > 9e8
    assert found.joins == found.split and (found.split > 0) == name.endswith("hybrid")
