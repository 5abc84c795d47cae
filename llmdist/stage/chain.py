"""The driver's side: one or more stages, and what to do when one dies.

The driver holds the tokens. A stage that died is started again, its tokens are replayed in one prefill,
and the request that failed is answered by the new stage: no token is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..errors import LlmdistError, StageError
from ..planner.placement import Placement
from .local import ChildStage, Heard, InlineStage, Stage, StageDied
from .messages import Applied, Apply, Failed, Forward, Load, Loaded, Message, Reply, Stepped

__all__ = ["Chain", "Rows"]

#: Token ids of each sequence.
Rows = tuple[tuple[int, ...], ...]

MAX_RESTARTS = 3
#: Emitted tokens that are replayed one by one, so that a replay rounds exactly as the first run did; a longer
#: text is replayed in one prefill, which is faster and may round differently in bf16.
EXACT_REPLAY_TOKENS = 256


class Chain:
    """A chain of one stage.

    Parameters
    ----------
    load : what a fresh stage is told first.
    isolate : child process (True) or inline worker (False).
    on_restart : called with (reason, memory was the cause); returns the placement to go on with.
    on_note : called with each new sentence that a stage has for the user.
    heard : told of a load or a move while it goes on; what it raises ends the stage.

    Raises
    ------
    StageError : the first stage ended while it loaded.
    """

    def __init__(
        self, load: Load, isolate: bool, on_restart: Callable[[str, bool], Placement | None] | None = None,
        on_note: Callable[[str], None] | None = None, heard: Heard | None = None,
    ) -> None:  # fmt: skip
        self._heard = heard
        self._load, self._isolate, self._on_restart, self._on_note = load, isolate, on_restart, on_note
        self._noted: set[str] = set()
        self._stage: Stage | None = None
        self.restarts = 0
        self._prompt_tokens: tuple[int, ...] = ()
        self._done: Rows = ()  # tokens whose keys and values the stage holds, per sequence
        try:
            self._start()
        except StageDied as died:
            raise StageError(f"The model could not be loaded: {died}. Plan again with a smaller cap.") from died

    def _start(self) -> None:
        self._stage = ChildStage(self._heard) if self._isolate else InlineStage(self._heard)
        try:
            self._note(self._checked(self._stage.request(self._load)))
        except BaseException:
            self.close()
            raise

    def _note(self, reply: Reply) -> None:
        note = reply.note if isinstance(reply, Loaded | Applied) else ""
        if note and note not in self._noted and self._on_note is not None:
            self._noted.add(note)
            self._on_note(note)

    @property
    def pid(self) -> int | None:
        """Return the process id of the engine, None when inline."""
        return getattr(self._stage, "pid", None)

    @staticmethod
    def _checked(reply: Reply) -> Reply:
        if isinstance(reply, Failed):
            if reply.kind == "user":
                raise LlmdistError(reply.reason)
            if reply.kind == "memory":
                raise StageDied(f"the engine ran out of memory ({reply.reason})", killed=True)
            raise StageError(f"The engine failed with a fault of its own; please report it:\n{reply.reason}")
        return reply

    def apply(self, placement: Placement) -> None:
        """Move to `placement`; what a restarted stage is told changes too.

        Raises
        ------
        StageError : no stage could hold it; the next request starts one with the placement before.
        """
        before = self._load
        self._load = replace(before, placement=placement)
        try:
            self._note(self._guarded(Apply(placement), self._done))
        except BaseException:
            self._load = before
            self.close()  # a stage that is half moved must not go on
            raise

    def forward(
        self, tokens: Rows, greedy: bool, histories: Rows, prompt_tokens: tuple[int, ...] = (), keep: int = 1
    ) -> Stepped:
        """Run each sequence's `tokens` behind its history, which is replayed after a death.

        `prompt_tokens` of each history were a prompt, the rest was emitted token by token. Answered for the last
        `keep` tokens of each sequence.
        """
        self._prompt_tokens = prompt_tokens or tuple(map(len, histories))
        reply = self._guarded(Forward(tokens, tuple(map(len, histories)), greedy, keep), histories)
        assert isinstance(reply, Stepped)
        self._done = tuple((*history, *new) for history, new in zip(histories, tokens, strict=True))
        return reply

    def _guarded(self, message: Message, histories: Rows) -> Reply:
        failure: StageDied | None = None
        for _ in range(MAX_RESTARTS + 1):
            try:
                if failure is not None:
                    self._restart(failure, histories)
                if self._stage is None:
                    self._start()
                    self._replay(histories)
                assert self._stage is not None
                return self._checked(self._stage.request(message))
            except StageDied as died:
                failure = died
            except KeyboardInterrupt:
                self.close()
                raise
        self.close()
        raise StageError(
            f"Generation stopped: {failure}, {MAX_RESTARTS} times in a row; the text so far is kept. "
            "Plan again with a smaller cap, for example half of it, and generate again."
        ) from failure

    def _restart(self, failure: StageDied, histories: Rows) -> None:
        self.close()
        self.restarts += 1
        if self._on_restart is not None:
            memory = failure.killed and (self.restarts > 1 or "memory (" in str(failure))
            placement = self._on_restart(str(failure), memory)
            if placement is not None:
                self._load = replace(self._load, placement=placement)
        self._start()
        self._replay(histories)

    def _replay(self, histories: Rows) -> None:
        if not all(histories) or not histories or self._stage is None:
            return
        cuts = [
            known if len(history) - known <= EXACT_REPLAY_TOKENS else len(history)
            for history, known in zip(histories, self._prompt_tokens, strict=True)
        ]
        prompts = tuple(history[:cut] for history, cut in zip(histories, cuts, strict=True))
        self._checked(self._stage.request(Forward(prompts, (0,) * len(prompts), greedy=True)))
        for step in range(max(len(history) - cut for history, cut in zip(histories, cuts, strict=True))):
            at = [min(cut + step, len(history) - 1) for history, cut in zip(histories, cuts, strict=True)]
            last = tuple((history[i],) for history, i in zip(histories, at, strict=True))
            self._checked(self._stage.request(Forward(last, tuple(at), greedy=True)))

    def close(self) -> None:
        """End the stage and return its memory."""
        if self._stage is not None:
            self._stage.close()
            self._stage = None
