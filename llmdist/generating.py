"""The half of a session that generates: one prompt or several, with or without speculation.

It checks what was asked, holds the run while it lasts, and between two passes lets the plan change: because someone
asked for it, or because the machine's free memory runs short. It does not plan and does not start engines.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Event as Flag
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from .cost.workspace import DRAFT_TOKENS
from .errors import GenerationError, InfeasibleError, LlmdistError
from .events import GenerationFinished, GenerationStarted, Observer, PlacementChanged
from .generation import (
    BatchStep,
    BatchStream,
    GenerationStats,
    GenerationStep,
    MemoryWatch,
    ModelDraft,
    NgramDraft,
    Run,
    Sampling,
    SpeculativeStream,
    Stream,
    stop_texts,
    token_ids,
)
from .hardware.probe import free_memory
from .model.blocks import ModelProfile
from .model.checkpoint import Checkpoint
from .model.tokenizer import Tokenizer
from .planner import MaxSeconds, PlanResult, solve
from .planner.speculation import ASSUMED, Acceptance, measured_acceptance
from .stage import Chain
from .units import format_bytes

__all__ = ["Generating"]


class Generating(ABC):
    """What `Session` inherits: `generate`, `generate_batch`, `cancel`."""

    model_name: str
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    profile: ModelProfile
    plan_result: PlanResult | None

    def __init__(self) -> None:
        self.stats = GenerationStats()
        self.texts = [""]
        self.messages: list[str] = []
        self._acceptances: dict[str, Acceptance] = {}
        self._chain: Chain | None = None
        self._cancelled = Flag()
        self._generating = Lock()
        self._chain_lock = Lock()  # one thread at a time opens, moves or closes the engine between generations
        self._pending: tuple[PlanResult, PlanResult] | None = None  # (wanted, before)
        self._observer: Observer | None = None
        self._run: Run | None = None
        self._watch = MemoryWatch(free_memory)

    @property
    def text(self) -> str:
        """Return the text of the last generation, of its first sequence where there were several."""
        return self.texts[0]

    @abstractmethod
    def _check_usable(self) -> None:
        """Raise where the session was unloaded."""

    @abstractmethod
    def _plan_for(self, context: int, batch: int) -> None:
        """Make a plan for `context` tokens and `batch` sequences."""

    @abstractmethod
    def _planned(self) -> PlanResult:
        """Return the plan in force."""

    @abstractmethod
    def _engine(self) -> Chain:
        """Return the engine, started if need be."""

    @abstractmethod
    def _learn(self, plan: PlanResult) -> None:
        """Take what a plain generation under `plan` shows of its prices; called once it ended."""

    @abstractmethod
    def _observe(self, on_event: Observer | None) -> Observer:
        """Return an observer that records and passes events on."""

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
        speculate: str | Generating | None = None,
        draft_tokens: int = 4,
    ) -> Iterator[GenerationStep]:
        """Yield one `GenerationStep` per token; `stats` and `text` tell of it afterwards.

        Parameters
        ----------
        prompt : text, or token ids.
        temperature : 0 takes the best token every time.
        stop : texts at which the generation ends; they are not part of the text.
        chat : put the prompt through the model's chat template.
        speculate : ``"ngram"`` guesses from the text so far, a `Session` of a smaller model of the same vocabulary
            guesses with it; the model checks all guesses in one pass, so the text is that of plain decoding.
        draft_tokens : tokens guessed per pass.

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
        self._check_speculation(speculate, draft_tokens)
        stops = stop_texts(stop)
        return self._generate(tokens, max_new_tokens, sampling, stops, on_event, speculate, draft_tokens)

    def generate_batch(
        self,
        prompts: Sequence[str | Sequence[int]],
        max_new_tokens: int = 64,
        temperature: float = 0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        on_event: Observer | None = None,
        chat: bool = False,
    ) -> Iterator[BatchStep]:
        """Yield one `BatchStep` per pass over all prompts; `stats` and `texts` tell of it afterwards.

        Streamed weights are read once per pass for all prompts. Each sequence gives the tokens that it gives alone;
        the i-th draws its chances from `seed` + i. Options are those of `generate`.

        Raises
        ------
        GenerationError : a prompt or an option is not usable, or the plan is for fewer sequences.
        """
        self._check_usable()
        sampling = Sampling(temperature, top_k, top_p, seed)
        if isinstance(prompts, str) or not prompts:
            raise GenerationError("A batch needs a list of at least one prompt: give ['first', 'second'].")
        tokens = tuple(self._encode(prompt, chat) for prompt in prompts)
        if not isinstance(max_new_tokens, int) or max_new_tokens < 1:
            raise GenerationError(f"{max_new_tokens!r} new tokens were asked: ask for a whole number from 1.")
        self._check_context(max(map(len, tokens)), max_new_tokens, len(tokens))
        stops = stop_texts(stop)
        return self._generate_batch(tokens, max_new_tokens, sampling, stops, on_event)

    def _encode(self, prompt: str | Sequence[int], chat: bool) -> tuple[int, ...]:
        if isinstance(prompt, str):
            if not prompt.strip():
                raise GenerationError("The prompt is empty: write some text to continue.")
            if chat:
                return tuple(self.tokenizer.chat([{"role": "user", "content": prompt}]))
            tokens = tuple(self.tokenizer.encode(prompt))
        else:
            tokens = token_ids(prompt)
        if not tokens:
            raise GenerationError("The prompt has no tokens: give some text or token ids.")
        bad = [t for t in tokens if not 0 <= t < self.profile.vocab_size]
        if bad:
            raise GenerationError(f"Token id {bad[0]} is outside the vocabulary of {self.profile.vocab_size}.")
        return tokens

    def _check_context(self, prompt: int, new: int, batch: int = 1) -> None:
        if prompt + new > self.profile.max_context:
            raise GenerationError(
                f"{prompt} prompt tokens and {new} new ones make {prompt + new}, but {self.model_name} was trained "
                f"for {self.profile.max_context}: shorten the prompt or ask for fewer new tokens."
            )
        if self.plan_result is None:
            self._plan_for(min(self.profile.max_context, max(2048, prompt + new)), batch)
        context = self._planned().problem.workload.context
        if prompt + new > context:
            raise GenerationError(
                f"{prompt} prompt tokens and {new} new ones make {prompt + new}, but the plan's KV cache holds "
                f"{context}: plan again with context={prompt + new}, or ask for fewer new tokens."
            )
        held = self._planned().problem.workload.batch
        if batch > held:
            raise GenerationError(
                f"{batch} prompts were given together, but the plan's KV cache holds {held}: plan again with "
                f"batch={batch}, or give fewer prompts."
            )

    def acceptance(self, draft: str | Generating) -> Acceptance:
        """Return how guesses by `draft` fared in this session's last run with them; as usual where there was none."""
        usual = ASSUMED["model" if isinstance(draft, Generating) else "ngram"]
        return self._acceptances.get(_draft_name(draft), usual)

    def _check_speculation(self, speculate: str | Generating | None, draft_tokens: int) -> None:
        if speculate is None:
            return
        if not isinstance(draft_tokens, int) or not 1 <= draft_tokens <= DRAFT_TOKENS:
            raise GenerationError(f"{draft_tokens!r} draft tokens were asked: ask for 1 to {DRAFT_TOKENS}.")
        if isinstance(speculate, Generating):
            if speculate is self or speculate.generating:
                raise GenerationError("The draft is this session, or is generating: load a smaller model for it.")
            if speculate.tokenizer.vocabulary() != self.tokenizer.vocabulary():
                raise GenerationError(
                    f"{speculate.model_name} cannot draft for {self.model_name}: their vocabularies differ; use a "
                    "smaller model of the same family, or speculate='ngram'."
                )
        elif speculate != "ngram":
            raise GenerationError(f"speculate is {speculate!r}: give 'ngram', a session of a smaller model, or None.")

    def _generate(
        self,
        prompt: tuple[int, ...],
        max_new_tokens: int,
        sampling: Sampling,
        stop: tuple[str, ...],
        on_event: Observer | None,
        speculate: str | Generating | None,
        draft_tokens: int,
    ) -> Iterator[GenerationStep]:
        with self._running((prompt,), stop, on_event, plain=speculate is None) as (run, engine):
            if speculate is None:
                yield from run.steps(Stream(engine, prompt, sampling), max_new_tokens)
                return
            with ExitStack() as held:
                draft = held.enter_context(speculate._drafting()) if isinstance(speculate, Generating) else NgramDraft()
                stream = SpeculativeStream(engine, prompt, sampling, draft, draft_tokens, run.stats)
                try:
                    yield from run.steps(stream, max_new_tokens)
                finally:
                    seen = run.stats
                    found = measured_acceptance(seen.passes - 1, seen.guessed, seen.accepted, seen.rejected)
                    if found is not None:
                        self._acceptances[_draft_name(speculate)] = found

    def _generate_batch(
        self,
        prompts: tuple[tuple[int, ...], ...],
        max_new_tokens: int,
        sampling: Sampling,
        stop: tuple[str, ...],
        on_event: Observer | None,
    ) -> Iterator[BatchStep]:
        with self._running(prompts, stop, on_event) as (run, engine):
            yield from run.batch_steps(BatchStream(engine, prompts, sampling), max_new_tokens)

    @contextmanager
    def _drafting(self) -> Iterator[ModelDraft]:
        """Lend the engine as a draft; it generates nothing else meanwhile."""
        if not self._generating.acquire(blocking=False):
            raise GenerationError(f"{self.model_name} was to draft, but is generating: stop it first.")
        try:
            with self._chain_lock:
                engine = self._engine()
            yield ModelDraft(engine, self._planned().problem.workload.context)
        finally:
            self._generating.release()

    @contextmanager
    def _running(
        self, prompts: tuple[tuple[int, ...], ...], stop: tuple[str, ...], on_event: Observer | None,
        plain: bool = False,
    ) -> Iterator[tuple[Run, Chain]]:  # fmt: skip
        """Begin a generation, give its run and the engine, and end it whatever happens."""
        if not self._generating.acquire(blocking=False):
            raise GenerationError("A generation is running already: stop it first, or wait for its end.")
        plan: PlanResult | None = None
        try:
            self._cancelled.clear()
            count = sum(map(len, prompts))
            self.texts = [""] * len(prompts)
            self.stats = GenerationStats(count, finish_reason="interrupted", sequences=len(prompts))
            observe = self._observer = self._observe(on_event)
            plan = self._planned()
            caps = {name: plan.problem.cap(name) for name in plan.prediction.peak_bytes}
            prediction = plan.prediction_for(len(prompts))
            observe(GenerationStarted(count, prediction.tokens_per_second, prediction.ttft_seconds, caps))
            with self._chain_lock:
                engine = self._engine()
            self._run = Run(
                self.tokenizer.decode, self.checkpoint.config.eos_token_ids, stop, self._between,
                lambda: engine.restarts, observe, self.stats, self.texts,
            )  # fmt: skip
            yield self._run, engine
        except LlmdistError:
            self.stats.finish_reason = "error"
            raise
        finally:
            self._observer = self._run = None
            self._generating.release()
            self._finish(on_event)
            if plan is not None and plain and self.stats.finish_reason != "error":
                self._learn(plan)

    def _between(self) -> bool:
        """Run between two passes: apply a waiting placement, or shrink; False when cancelled."""
        if self._cancelled.is_set():
            return False
        if self._pending is None:
            self._shrink_when_short()
        change, self._pending = self._pending, None
        if change is not None and self._chain is not None:
            self._move(self._chain, *change)
        return not self._cancelled.is_set()

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

    def _shrink_when_short(self) -> None:
        """Plan with less where the machine's free memory no longer covers what the engine may still take."""
        plan, last = self.plan_result, self._run.last if self._run else None
        if plan is None or last is None:
            return
        planned = plan.prediction.peak_bytes.get("cpu", 0)
        missing = self._watch.shortage(planned, last.memory_bytes)
        if missing < 0.05 * planned:  # moving blocks for less would cost more than it saves
            return
        problem = plan.problem.with_caps({"cpu": max(1, planned - missing)})
        try:
            smaller = solve(problem, seed=plan.seed, stop=MaxSeconds(1.0), start=plan)
        except InfeasibleError:
            return
        self.plan_result, self._pending = smaller, (smaller, plan)
        self.messages.append(
            f"Free memory fell {format_bytes(missing)} short of the plan's {format_bytes(planned)}; the generation "
            f"goes on with {format_bytes(smaller.prediction.peak_bytes['cpu'])}."
        )

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
        tokens, then = self._encode(prompt, False), token_ids(continuation)
        self._check_context(len(tokens), len(then) + 1)
        if not self._generating.acquire(blocking=False):
            raise GenerationError("A generation is running already: stop it first, or wait for its end.")
        try:
            engine, rows, given = self._engine(), [], tokens
            for token in (None, *then):
                history, step = ((), given) if token is None else (given, (token,))
                stepped = engine.forward((step,), False, (history,), (len(tokens),))
                assert stepped.logits is not None
                rows.append(np.frombuffer(stepped.logits, dtype=np.float32).astype(np.float64))
                given = (*history, *step)
        finally:
            self._generating.release()
        logits = np.stack(rows)
        raised = np.exp(logits - logits.max(1, keepdims=True))
        result: NDArray[np.float64] = raised / raised.sum(1, keepdims=True)
        return result


def _draft_name(draft: str | Generating) -> str:
    return f"model {draft.model_name}" if isinstance(draft, Generating) else draft
