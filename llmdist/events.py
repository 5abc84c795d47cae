"""What happened, as frozen records: the only door between computing and pictures.

The planner and the executor emit events; a `Recorder` keeps them; a view is a function of events.
Times are seconds of a monotonic clock, counted from the start of the search or generation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = [
    "BlockComputed",
    "CopyFinished",
    "Event",
    "GenerationFinished",
    "GenerationStarted",
    "IterationFinished",
    "LatestRecorder",
    "Observer",
    "PlacementChanged",
    "PlanFinished",
    "PlanStarted",
    "Progressed",
    "Recorder",
    "StageRestarted",
    "TokenProduced",
    "WorkFinished",
]


@dataclass(frozen=True, slots=True)
class PlanStarted:
    """A search began. `options[i]` are the labels of block i's options, in the trail's order."""

    blocks: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    devices: tuple[str, ...]
    objective: str


@dataclass(frozen=True, slots=True)
class IterationFinished:
    """One iteration of the colony.

    `trail[i][k]` is the pheromone of option k of block i, scaled to 0..1 per block (rows are padded
    with 0 to the widest block). `best` and `mean` are objective seconds; `bound` is a lower bound.
    `best_choice[i]` is the index of the option of block i in the best placement so far.
    """

    iteration: int
    elapsed_seconds: float
    best: float
    mean: float
    bound: float
    entropy: float
    trail: tuple[tuple[float, ...], ...]
    best_choice: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PlanFinished:
    """The search ended, with the reason: optimal, time, iterations or stagnation."""

    iterations: int
    elapsed_seconds: float
    best: float
    bound: float
    reason: str


@dataclass(frozen=True, slots=True)
class PlacementChanged:
    """The engine moved to another placement between two tokens; the prediction is that of the new one."""

    time_seconds: float
    moved_blocks: tuple[str, ...]
    predicted_tokens_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class GenerationStarted:
    """A generation began; predictions are those of the plan in force (0 where there is none)."""

    prompt_tokens: int
    predicted_tokens_per_second: float
    predicted_ttft_seconds: float
    cap_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CopyFinished:
    """One block's weights were copied into a staging slot."""

    block: str
    start_seconds: float
    end_seconds: float
    nbytes: int
    slot: int

    def __reduce__(self) -> tuple[Any, ...]:  # the default looks up every field by name, and a pass has hundreds
        return CopyFinished, (self.block, self.start_seconds, self.end_seconds, self.nbytes, self.slot)

    def shifted(self, seconds: float) -> CopyFinished:
        """Return the same copy on a clock that is `seconds` behind."""
        return CopyFinished(
            self.block, self.start_seconds - seconds, self.end_seconds - seconds, self.nbytes, self.slot
        )


@dataclass(frozen=True, slots=True)
class BlockComputed:
    """One block was computed on `device`."""

    block: str
    start_seconds: float
    end_seconds: float
    device: str

    def __reduce__(self) -> tuple[Any, ...]:
        return BlockComputed, (self.block, self.start_seconds, self.end_seconds, self.device)

    def shifted(self, seconds: float) -> BlockComputed:
        """Return the same block on a clock that is `seconds` behind."""
        return BlockComputed(self.block, self.start_seconds - seconds, self.end_seconds - seconds, self.device)


@dataclass(frozen=True, slots=True)
class TokenProduced:
    """One token came out. `step_seconds` is the time since the one before (the TTFT for the first)."""

    index: int
    token_id: int
    text: str
    time_seconds: float
    step_seconds: float
    bytes_moved: int
    memory_bytes: Mapping[str, int]
    copies: tuple[CopyFinished, ...] = ()
    computes: tuple[BlockComputed, ...] = ()


@dataclass(frozen=True, slots=True)
class StageRestarted:
    """The engine process ended and another took over; `reason` is one sentence."""

    time_seconds: float
    reason: str
    replayed_tokens: int


@dataclass(frozen=True, slots=True)
class GenerationFinished:
    """A generation ended, with the reason: length, stop, end_of_text or interrupted."""

    reason: str
    tokens: int
    ttft_seconds: float
    tokens_per_second: float
    bytes_moved: int
    peak_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Progressed:
    """Work that takes a while went on: ``download``, ``measure`` or ``load``; `what` is the part at hand.

    `share` of it is done, 0 to 1. Bytes are 0 where the work is not counted in them.
    """

    work: str
    what: str
    share: float
    done_bytes: int
    total_bytes: int
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class WorkFinished:
    """Such work ended. `made` counts the blocks that were quantised, per precision.

    `kept` tells whether the next load finds what was made or measured.
    """

    work: str
    what: str
    nbytes: int
    seconds: float
    made: Mapping[str, int] = field(default_factory=dict)
    kept: bool = True


Event = (
    PlanStarted
    | IterationFinished
    | PlanFinished
    | PlacementChanged
    | GenerationStarted
    | TokenProduced
    | StageRestarted
    | GenerationFinished
    | Progressed
    | WorkFinished
)
Observer = Callable[[Event], None]


@dataclass(slots=True)
class Recorder:
    """Keeps events in order; itself an `Observer`."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)


class LatestRecorder:
    """Keeps the last search and the last generation; itself an `Observer`.

    A session lives for days, so what is older goes. Of a long generation the last `detailed` tokens keep their
    copies and computes, the others only their text, times and sizes.
    """

    def __init__(self, detailed: int = 256) -> None:
        self.detailed = detailed
        self._search: list[Event] = []
        self._generation: list[Event] = []
        self._tokens: deque[int] = deque()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progressed):  # of no interest once it is over
            return
        if isinstance(event, PlanStarted):
            self._search = []
        if isinstance(event, GenerationStarted):
            self._generation, self._tokens = [], deque()
        if isinstance(event, PlanStarted | IterationFinished | PlanFinished):
            self._search.append(event)
            return
        if isinstance(event, TokenProduced):
            self._tokens.append(len(self._generation))
            if len(self._tokens) > self.detailed:
                self._shorten(self._tokens.popleft())
        self._generation.append(event)

    def forget_search(self) -> None:
        """Let the last search go, where a plan of another one was put in force."""
        self._search = []

    def _shorten(self, index: int) -> None:
        token = self._generation[index]
        assert isinstance(token, TokenProduced)
        self._generation[index] = replace(token, copies=(), computes=())

    @property
    def events(self) -> list[Event]:
        """Return the events of the last search, then those of the last generation."""
        return [*self._search, *self._generation]

    @property
    def generation(self) -> list[Event]:
        """Return the events of the last generation."""
        return list(self._generation)

    def recent(self, count: int) -> list[Event]:
        """Return the last `count` events of the last generation."""
        return self._generation[-count:]
