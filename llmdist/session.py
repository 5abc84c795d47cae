"""The session: load, plan, place, generate. What a notebook holds; the magics show it.

It keeps the tokenizer, the plan, the recorded events and the text so far. The engine (weights, KV cache)
lives in a stage behind `Chain`, so the session outlives it.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from .errors import GenerationError, InfeasibleError, LlmdistError, PlanError
from .events import (
    Event,
    GenerationFinished,
    GenerationStarted,
    Observer,
    PlacementChanged,
    Recorder,
    StageRestarted,
    TokenProduced,
)
from .generation import GenerationStats, GenerationStep, Sampling, Stream
from .generation.text import TextStream
from .hardware import HardwareProfile, describe, hardware_profile
from .model.checkpoint import Checkpoint
from .model.hub import resolve
from .model.tokenizer import Tokenizer
from .planner import (
    AnyOf,
    Asked,
    Assignment,
    MaxSeconds,
    Placement,
    PlanningProblem,
    PlanResult,
    evaluate,
    solve,
    violations,
)
from .planner.build import build_problem
from .stage import Chain
from .stage.messages import Load, Stepped
from .units import format_bytes, format_seconds

__all__ = ["Session", "load"]


def load(
    model: str | Path,
    revision: str | None = None,
    isolate: bool = True,
    progress: Callable[[str, float], None] | None = None,
) -> Session:
    """Open a model and return its session; no weights are read before a plan asks for them.

    Parameters
    ----------
    model : ``"demo"``, a Hugging Face name such as ``"Qwen/Qwen3-8B"``, or a folder.
    revision : branch, tag or commit of a Hugging Face name.
    isolate : run the engine in a child process (True) or in this one (False, for debugging).
    progress : called with (what, fraction) while the machine is measured for the first time.

    Raises
    ------
    ModelError : the model cannot be found, is damaged, or is of a family that is not supported.
    """
    folder = resolve(str(model), revision)
    checkpoint = Checkpoint.open(folder)
    tokenizer = Tokenizer.open(folder)
    return Session(str(model), checkpoint, tokenizer, hardware_profile(folder, progress=progress), isolate)


class Session:
    """One loaded model on this machine."""

    def __init__(
        self, name: str, checkpoint: Checkpoint, tokenizer: Tokenizer, hardware: HardwareProfile, isolate: bool
    ) -> None:
        self.model_name, self.checkpoint, self.tokenizer = name, checkpoint, tokenizer
        self.profile, self.hardware = checkpoint.profile, hardware
        self.plan_result: PlanResult | None = None
        self.stats = GenerationStats()
        self.text = ""
        self.recorder = Recorder()
        self.messages: list[str] = []
        self.streaming = True
        self._isolate = isolate
        self._chain: Chain | None = None
        self._cancelled, self._plan_stopped = Flag(), Flag()
        self._generating = Lock()
        self._chain_lock = Lock()  # one thread at a time opens, moves or closes the engine between generations
        self._pending: tuple[PlanResult, PlanResult] | None = None  # (wanted, before)
        self._observer: Observer | None = None
        self._unloaded = False

    # ---- plan -------------------------------------------------------------------------------------

    def plan(
        self,
        vram: int | str | None = None,
        ram: int | str | None = None,
        disk: bool = True,
        precision: str | Sequence[str] | None = None,
        context: int | None = None,
        batch: int = 1,
        objective: str = "latency",
        seed: int = 0,
        seconds: float = 2.0,
        locks: Mapping[str, Assignment] | None = None,
        on_event: Observer | None = None,
    ) -> PlanResult:
        """Search a placement under the limits and put it in force.

        Parameters
        ----------
        vram, ram : caps in bytes or text such as ``"8GiB"``; None takes what is free.
        disk : whether weights may stay on disk and be streamed.
        precision : ``bf16``, ``fp16``, ``fp32``, ``int8``, ``int4``, or several such as ``"bf16,int8,int4"`` of which
            each block takes one; None keeps the checkpoint's.
        context : tokens that the KV cache holds.
        objective : ``latency`` (time per token) or ``finish`` (time until the last token).
        seconds : time limit of the search.
        locks : block name -> assignment that must stay.

        Raises
        ------
        UnitError, PlanError, InfeasibleError : with the plan before left in force.
        """
        self._check_usable()
        _check_search(seed, seconds)
        problem = build_problem(
            self.profile, self.hardware, vram=vram, ram=ram, disk=disk, precision=precision,
            context=context, batch=batch, objective=objective, locks=locks,
        )  # fmt: skip
        self._plan_stopped.clear()
        stop = AnyOf((MaxSeconds(seconds), Asked(self._plan_stopped.is_set)))
        result = solve(problem, seed=seed, stop=stop, on_event=self._observe(on_event))
        if self._generating.locked() and self.plan_result is not None:
            same = problem.workload == self.plan_result.problem.workload
            if not same:
                raise PlanError("The context cannot change during a generation: stop it, then plan again.")
            self._pending = (result, self.plan_result)
        elif self._chain is not None:
            self._close_chain()
        self.plan_result = result
        return result

    def stop_planning(self) -> None:
        """End the running search after its iteration; the best plan so far is put in force."""
        self._plan_stopped.set()

    def apply(self, placement: Placement) -> None:
        """Put `placement` in force: now, or between two tokens of the running generation.

        Raises
        ------
        PlanError : naming every violation, with the old placement left in force.
        """
        self._check_usable()
        plan = self._planned()
        found = violations(plan.problem, placement)
        if found:
            raise PlanError("The placement cannot be applied: " + "; ".join(found) + ".")
        prediction = evaluate(plan.problem, placement)
        seconds = plan.objective_seconds * prediction.tpot_seconds / plan.prediction.tpot_seconds
        wanted = replace(
            plan, placement=placement, prediction=prediction, objective_seconds=seconds, method="by hand"
        )
        with self._chain_lock:
            if self._generating.locked():
                self._pending = (wanted, plan)
            elif self._chain is not None:
                self._chain.apply(placement)
            self.plan_result = wanted

    def _planned(self) -> PlanResult:
        if self.plan_result is None:
            self.plan()
        assert self.plan_result is not None
        return self.plan_result

    # ---- generate ---------------------------------------------------------------------------------

    def generate(
        self,
        prompt: str | Sequence[int],
        max_new_tokens: int = 64,
        temperature: float = 0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        on_event: Observer | None = None,
        chat: bool = False,
    ) -> Iterator[GenerationStep]:
        """Yield one `GenerationStep` per token; `stats` and `text` tell of it afterwards.

        Parameters
        ----------
        prompt : text, or token ids.
        temperature : 0 takes the best token every time.
        stop : texts at which the generation ends; they are not part of the text.
        chat : put the prompt through the model's chat template.

        Raises
        ------
        GenerationError : the prompt or an option is not usable. StageError : the engine failed for good.
        """
        self._check_usable()
        sampling = Sampling(temperature, top_k, top_p, seed)
        tokens = self._encode(prompt, chat)
        if not isinstance(max_new_tokens, int) or max_new_tokens < 1:
            raise GenerationError(f"{max_new_tokens!r} new tokens were asked: ask for a whole number from 1.")
        self._check_context(len(tokens), max_new_tokens)
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        return self._generate(tokens, max_new_tokens, sampling, stops, on_event)

    def _encode(self, prompt: str | Sequence[int], chat: bool) -> tuple[int, ...]:
        if isinstance(prompt, str):
            if not prompt.strip():
                raise GenerationError("The prompt is empty: write some text to continue.")
            if chat:
                return tuple(self.tokenizer.chat([{"role": "user", "content": prompt}]))
            tokens = tuple(self.tokenizer.encode(prompt))
        else:
            tokens = _token_ids(prompt)
        if not tokens:
            raise GenerationError("The prompt has no tokens: give some text or token ids.")
        bad = [t for t in tokens if not 0 <= t < self.profile.vocab_size]
        if bad:
            raise GenerationError(f"Token id {bad[0]} is outside the vocabulary of {self.profile.vocab_size}.")
        return tokens

    def _check_context(self, prompt: int, new: int) -> None:
        if prompt + new > self.profile.max_context:
            raise GenerationError(
                f"{prompt} prompt tokens and {new} new ones make {prompt + new}, but {self.model_name} was trained "
                f"for {self.profile.max_context}: shorten the prompt or ask for fewer new tokens."
            )
        if self.plan_result is None:
            self.plan(context=min(self.profile.max_context, max(2048, prompt + new)))
        context = self._planned().problem.workload.context
        if prompt + new > context:
            raise GenerationError(
                f"{prompt} prompt tokens and {new} new ones make {prompt + new}, but the plan's KV cache holds "
                f"{context}: plan again with context={prompt + new}, or ask for fewer new tokens."
            )

    def _generate(
        self,
        prompt: tuple[int, ...],
        max_new_tokens: int,
        sampling: Sampling,
        stop: tuple[str, ...],
        on_event: Observer | None,
    ) -> Iterator[GenerationStep]:
        if not self._generating.acquire(blocking=False):
            raise GenerationError("A generation is running already: stop it first, or wait for its end.")
        try:
            self._cancelled.clear()
            self.text, self.stats = "", GenerationStats(prompt_tokens=len(prompt), finish_reason="interrupted")
            observe = self._observer = self._observe(on_event)
            plan = self._planned()
            caps = {name: plan.problem.cap(name) for name in plan.prediction.peak_bytes}
            prediction = plan.prediction
            observe(
                GenerationStarted(len(prompt), prediction.tokens_per_second, prediction.ttft_seconds, caps)
            )
            with self._chain_lock:
                engine = self._engine()
            yield from self._steps(Stream(engine, prompt, sampling), max_new_tokens, stop, observe)
        finally:
            self._observer = None
            self._generating.release()
            self._finish(on_event)

    def _steps(
        self, stream: Stream, max_new_tokens: int, stop: tuple[str, ...], observe: Observer
    ) -> Iterator[GenerationStep]:
        text, started = TextStream(self.tokenizer.decode, stop), time.monotonic()
        for index, (token, stepped, seconds) in enumerate(stream.stream(max_new_tokens, self._between)):
            ended = token in self.checkpoint.config.eos_token_ids
            piece = "" if ended else text.push(token)
            last = ended or text.stopped or index + 1 == max_new_tokens
            piece += text.finish() if last else ""
            self.text += piece
            self._count(index, stepped, seconds)
            now = time.monotonic() - started
            if last:
                self.stats.finish_reason = "end_of_text" if ended else "stop" if text.stopped else "length"
            observe(_token_event(index, token, piece, now, seconds, stepped, started))
            yield GenerationStep(token, piece, index, now, seconds, stepped.bytes_moved, stepped.memory_bytes)
            if last:
                return
        self.text += text.finish()

    def _count(self, index: int, stepped: Stepped, seconds: float) -> None:
        stats = self.stats
        stats.tokens = index + 1
        stats.bytes_moved += stepped.bytes_moved
        stats.peak_bytes = dict(stepped.peak_bytes)
        stats.restarts = self._chain.restarts if self._chain else 0
        if index == 0:
            stats.ttft_seconds = seconds
        else:
            stats.decode_seconds += seconds

    def _between(self) -> bool:
        """Run between two tokens: apply a waiting placement; False when cancelled."""
        if self._cancelled.is_set():
            return False
        change, self._pending = self._pending, None
        if change is not None and self._chain is not None:
            self._move(self._chain, *change)
        return True

    def _move(self, chain: Chain, plan: PlanResult, before: PlanResult) -> None:
        """Put `plan` in force; where no engine can hold it, say so and stay with the plan before."""
        try:
            chain.apply(plan.placement)
        except LlmdistError as error:
            self.plan_result = before
            self.messages.append(f"The new placement could not be put in force, the one before stays: {error}")
            return
        if self._observer:
            old = dict(before.placement.items())
            moved = tuple(name for name, choice in plan.placement.items() if old[name] != choice)
            self._observer(PlacementChanged(time.monotonic(), moved, plan.prediction.tokens_per_second))

    def _finish(self, on_event: Observer | None) -> None:
        stats = self.stats
        event = GenerationFinished(
            stats.finish_reason, stats.tokens, stats.ttft_seconds, stats.tokens_per_second,
            stats.bytes_moved, stats.peak_bytes,
        )  # fmt: skip
        self._observe(on_event)(event)

    @property
    def generating(self) -> bool:
        """Whether a generation is running."""
        return self._generating.locked()

    def cancel(self) -> None:
        """Stop the running generation before its next token; its text is kept in `text`."""
        self._cancelled.set()

    def probabilities(self, prompt: str | Sequence[int], continuation: Sequence[int] = ()) -> NDArray[np.float64]:
        """Return the probability of every next token, after `prompt` and after each token of `continuation`.

        Returns
        -------
        (len(continuation) + 1, vocab_size) float64, each row summing to 1; temperature 1.

        Raises
        ------
        GenerationError : the prompt is not usable, or a generation is running.
        """
        self._check_usable()
        tokens, then = self._encode(prompt, False), _token_ids(continuation)
        self._check_context(len(tokens), len(then) + 1)
        if not self._generating.acquire(blocking=False):
            raise GenerationError("A generation is running already: stop it first, or wait for its end.")
        try:
            engine, rows, given = self._engine(), [], tokens
            for token in (None, *then):
                history, step = ((), given) if token is None else (given, (token,))
                stepped = engine.forward(step, len(history), False, history, len(tokens))
                assert stepped.logits is not None
                rows.append(np.frombuffer(stepped.logits, dtype=np.float32).astype(np.float64))
                given = (*history, *step)
        finally:
            self._generating.release()
        logits = np.stack(rows)
        raised = np.exp(logits - logits.max(1, keepdims=True))
        result: NDArray[np.float64] = raised / raised.sum(1, keepdims=True)
        return result

    # ---- engine -----------------------------------------------------------------------------------

    def _engine(self) -> Chain:
        plan = self._planned()
        if self._chain is None:
            message = Load(
                str(self.checkpoint.folder), plan.placement, plan.problem.workload.context, 1,
                plan.problem.slots, self.streaming,
            )  # fmt: skip
            self._chain = Chain(message, self._isolate, self._on_restart)
        self._chain.restarts = 0
        return self._chain

    def _on_restart(self, reason: str, memory: bool) -> Placement | None:
        """Say what happened in one sentence and give the placement to go on with."""
        plan = self._planned()
        sentence = f"During the generation {reason}; the text is kept, a new engine goes on from the last token"
        placement = None
        if memory:
            with suppress(InfeasibleError):
                plan = solve(_shrunk(plan), seed=plan.seed, stop=MaxSeconds(1.0))
                self.plan_result, placement = plan, plan.placement
                sentence += ", with three quarters of the memory"
        self.messages.append(sentence + ".")
        if self._observer:
            replayed = self.stats.prompt_tokens + max(0, self.stats.tokens - 1)
            self._observer(StageRestarted(time.monotonic(), self.messages[-1], replayed))
        return placement

    @property
    def engine_pid(self) -> int | None:
        """Return the process id of the engine; None when it is not running or inline."""
        return self._chain.pid if self._chain else None

    def _observe(self, on_event: Observer | None) -> Observer:
        def observe(event: Event) -> None:
            self.recorder(event)
            if on_event is not None:
                on_event(event)

        return observe

    def _close_chain(self) -> None:
        if self._chain is not None:
            self._chain.close()
            self._chain = None

    def _check_usable(self) -> None:
        if self._unloaded:
            raise LlmdistError(f"{self.model_name} was unloaded: load it again with llmdist.load.")

    def unload(self) -> None:
        """End the engine and return its memory; a second call does nothing."""
        self.cancel()
        self._close_chain()
        self._unloaded = True

    def describe(self) -> str:
        """Return the machine, the model and the plan in a few lines of text."""
        model = (
            f"model     {self.model_name}: {self.checkpoint.config.family}, "
            f"{self.profile.parameters / 1e6:.1f} M weights in {self.profile.precision}, "
            f"{len(self.profile.blocks)} blocks, context {self.profile.max_context}"
        )
        if self.checkpoint.config.foreign:
            model += "; computed by transformers' own modules, unfused: the slow path"
        lines = [describe(self.hardware), model]
        if self.plan_result is not None:
            lines += ["plan", self.plan_result.summary()]
        if self.stats.tokens:
            peak = ", ".join(f"{name} {format_bytes(b)}" for name, b in self.stats.peak_bytes.items())
            lines.append(
                f"last run  {self.stats.tokens} tokens, {self.stats.tokens_per_second:.1f} tokens/s, first after "
                f"{format_seconds(self.stats.ttft_seconds)}, peak memory {peak}"
            )
        return "\n".join(lines)


def _token_ids(prompt: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(operator.index(token) for token in prompt)
    except TypeError as error:
        raise GenerationError(f"The prompt {prompt!r:.60} is neither text nor whole token ids ({error}).") from error


def _check_search(seed: int, seconds: float) -> None:
    if not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
        raise PlanError(f"The search was given {seconds!r} seconds: give it a number above 0, such as 2.")
    if not isinstance(seed, int) or seed < 0:
        raise PlanError(f"The search was given the seed {seed!r}: give a whole number from 0.")


def _shrunk(plan: PlanResult) -> PlanningProblem:
    """Return the plan's problem with every memory at three quarters of what the plan takes of it."""
    problem = plan.problem
    taken = {d.name: plan.prediction.peak_bytes.get(d.name, 0) for d in problem.devices if d.executes}
    return problem.with_caps({name: int(0.75 * min(problem.cap(name), used)) for name, used in taken.items() if used})


def _token_event(
    index: int, token: int, piece: str, now: float, seconds: float, stepped: Stepped, started: float
) -> TokenProduced:
    """Return the event of one token, its copies and computes timed from the generation's start."""

    def shifted(record):  # type: ignore[no-untyped-def]
        return replace(
            record, start_seconds=record.start_seconds - started, end_seconds=record.end_seconds - started
        )

    return TokenProduced(
        index, token, piece, now, seconds, stepped.bytes_moved, stepped.memory_bytes,
        tuple(map(shifted, stepped.copies)), tuple(map(shifted, stepped.computes)),
    )  # fmt: skip
