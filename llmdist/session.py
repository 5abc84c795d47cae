"""The session: load, plan, place, generate. What a notebook holds; the magics show it.

It keeps the tokenizer, the plan, the recorded events and the text so far. The engine (weights, KV cache)
lives in a stage behind `Chain`, so the session outlives it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from .calibration import Calibration, CalibrationLog, Observation, fit, log_words, model_key, observed
from .choosing import Choosing, check_search, guessing_as
from .errors import InfeasibleError, LlmdistError, PlanError
from .events import Event, LatestRecorder, Observer, StageRestarted
from .generating import Generating
from .hardware import HardwareProfile, describe, hardware_profile
from .kernels.compile import begin as begin_compiling
from .model.checkpoint import Checkpoint
from .model.hub import resolve
from .model.tokenizer import Tokenizer
from .planner import (
    AnyOf,
    Asked,
    Assignment,
    ColonyParameters,
    MaxSeconds,
    Placement,
    PlanningProblem,
    PlanResult,
    evaluate,
    solve,
    violations,
)
from .planner.build import build_problem, unpacking_if_it_fits
from .planner.speculation import speculating
from .planner.stop import StopRule
from .progress import LoadMeter, Meter
from .stage import Chain
from .stage.messages import Load
from .units import format_bytes, format_seconds, format_speed

__all__ = ["Session", "load"]


def load(
    model: str | Path,
    revision: str | None = None,
    isolate: bool = True,
    progress: Observer | None = None,
    calibrate: bool = True,
) -> Session:
    """Open a model and return its session; no weights are read before a plan asks for them.

    Parameters
    ----------
    model : ``"demo"``, a Hugging Face name such as ``"Qwen/Qwen3-8B"``, or a folder.
    revision : branch, tag or commit of a Hugging Face name.
    isolate : run the engine in a child process (True) or in this one (False, for debugging).
    progress : told (`Progressed`, `WorkFinished`) of a download, of measuring the machine for the first time, and of
        every load of weights after that; `llmdist.progress` has the words.
    calibrate : let measured generations correct the prices of later plans on this machine.

    Raises
    ------
    ModelError : the model cannot be found, is damaged, or is of a family that is not supported.
    """
    begin_compiling()  # a download or the start of a child takes as long
    folder = resolve(str(model), revision, progress)
    checkpoint = Checkpoint.open(folder)
    tokenizer = Tokenizer.open(folder)
    from . import __version__

    hardware = _measured(folder, progress)
    log = CalibrationLog.of(hardware, __version__) if isolate else None  # an engine in this process has other prices
    session = Session(str(model), checkpoint, tokenizer, hardware, isolate, log)
    session.calibrate, session.on_progress = calibrate, progress
    return session


def _measured(folder: Path, progress: Observer | None) -> HardwareProfile:
    """Return the machine's profile and tell of the measurement, if one was needed."""
    meter, told = Meter("measure", progress), []

    def say(what: str, share: float) -> None:
        told.append(what)
        meter.share(what, share)

    hardware = hardware_profile(folder, progress=say)
    if told:
        meter.finish("this machine", kept=not hardware.note)
    return hardware


class Session(Choosing):
    """One loaded model on this machine."""

    def __init__(
        self, name: str, checkpoint: Checkpoint, tokenizer: Tokenizer, hardware: HardwareProfile, isolate: bool,
        log: CalibrationLog | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.model_name, self.checkpoint, self.tokenizer = name, checkpoint, tokenizer
        self.profile, self.hardware = checkpoint.profile, hardware
        self.plan_result: PlanResult | None = None
        self.recorder = LatestRecorder()
        self.streaming = True
        self.calibrate = True
        self.on_progress: Observer | None = None
        self._log, self._fitted = log, (tuple[Observation, ...](), Calibration(model_key(self.profile)))
        if log is not None and log.note:
            self.messages.append(log.note)
        self._isolate = isolate
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
        stop: StopRule | None = None,
        locks: Mapping[str, Assignment] | None = None,
        params: ColonyParameters | None = None,
        kv: str | None = None,
        speculate: str | Generating | None = None,
        draft_tokens: int = 4,
        on_event: Observer | None = None,
    ) -> PlanResult:
        """Search a placement under the limits and put it in force.

        Parameters
        ----------
        vram, ram : caps in bytes or text such as ``"8GiB"``; None takes what is free.
        disk : whether weights may stay on disk and be streamed.
        precision : ``bf16``, ``fp16``, ``fp32``, ``int8``, ``int4``, or several such as ``"bf16,int8,int4"`` of which
            each block takes one; None keeps the checkpoint's.
        context : tokens that the KV cache holds per sequence; a plan made during a generation keeps it.
        batch : sequences that the KV cache holds, for `generate_batch`.
        objective : ``latency`` (time per token) or ``finish`` (time until the last token).
        seconds, stop : time limit of the search, or a rule in its place; `MaxIterations` makes a search repeatable.
        locks : block name -> assignment that must stay.
        params : how the colony searches; None takes its defaults.
        kv : ``int8`` keeps keys and values in 8 bits with a scale per token and head; None in the activations' type.
        speculate, draft_tokens : plan for `generate` with the same: tokens per pass as this session's last such run
            showed them (else as usual), the time of guessing, and the memory of a draft model within the caps.

        Raises
        ------
        UnitError, PlanError, InfeasibleError : with the plan before left in force.
        """
        self._check_usable()
        check_search(seed, seconds)
        if self._generating.locked() and self.plan_result is not None:  # what runs keeps its KV cache
            running = self.plan_result.problem
            context, batch = context or running.workload.context, running.workload.batch
            precision, kv, speculate = precision or running.precisions, running.workload.kv_precision, None
        problem = build_problem(
            self.profile, self._calibrated(), vram=vram, ram=ram, disk=disk, precision=precision,
            context=context, batch=batch, objective=objective, locks=locks, kv=kv,
        )  # fmt: skip
        if self._generating.locked() and self.plan_result is not None:
            problem = replace(problem, workload=guessing_as(problem, running), held=running.held)
        elif speculate is not None:
            problem = self._speculating(problem, speculate, draft_tokens)
        self._plan_stopped.clear()
        ends = AnyOf((stop or MaxSeconds(seconds), Asked(self._plan_stopped.is_set)))

        def plan_of(problem: PlanningProblem) -> PlanResult:
            return solve(problem, seed=seed, stop=ends, on_event=self._observe(on_event), params=params)

        result = unpacking_if_it_fits(problem, self.profile, plan_of)
        self._put_in_force(result)
        return result

    def _speculating(self, problem: PlanningProblem, draft: str | Generating, draft_tokens: int) -> PlanningProblem:
        """Return `problem` with guesses by `draft` in it, and a draft model's bytes within the caps."""
        self._check_speculation(draft, draft_tokens)
        if not isinstance(draft, Session):
            return speculating(problem, draft_tokens, self.acceptance(draft), 0.0, {})
        plan = draft._planned()
        executing = {device.name for device in problem.devices if device.executes}
        held = {name: used for name, used in plan.prediction.peak_bytes.items() if name in executing}
        return speculating(problem, draft_tokens, self.acceptance(draft), plan.prediction.tpot_seconds, held)

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
        seconds = prediction.objective_seconds(plan.problem)
        wanted = replace(
            plan, placement=placement, prediction=prediction, objective_seconds=seconds, method="by hand"
        )
        with self._chain_lock:
            if self._generating.locked():
                self._pending = (wanted, plan)
            elif self._chain is not None:
                self._chain.apply(placement)
            self.plan_result = wanted

    def _plan_for(self, context: int, batch: int) -> None:
        self.plan(context=context, batch=batch)

    def _planned(self) -> PlanResult:
        if self.plan_result is None:
            self.plan()
        assert self.plan_result is not None
        return self.plan_result

    # ---- calibration ------------------------------------------------------------------------------

    @property
    def predictions(self) -> tuple[Observation, ...]:
        """Return the log of this model's generations on this machine: predicted and measured, the latest last."""
        seen = self._log.observations if self._log is not None else ()
        return tuple(one for one in seen if one.model == model_key(self.profile))

    @property
    def calibration(self) -> Calibration | None:
        """Return what those generations say of the machine's prices; None where calibration is off."""
        if self._log is None or not self.calibrate:
            return None
        if self._fitted[0] is not self._log.observations:
            seen = self._log.observations
            self._fitted = (seen, fit(seen, self.profile, self.hardware))
        return self._fitted[1]

    def forget_predictions(self) -> int:
        """Forget this model's generations and their corrections; return how many. A plan in force keeps its prices."""
        return self._log.forget(model_key(self.profile)) if self._log is not None else 0

    def _calibrated(self) -> HardwareProfile:
        calibration = self.calibration
        return self.hardware if calibration is None else calibration.applied(self.hardware)

    def _learn(self, plan: PlanResult) -> None:
        calibration = self.calibration
        guesses = plan.problem.workload.tokens_per_pass > 1  # its prediction was not for a plain run
        if calibration is None or self._log is None or not self.streaming or guesses:
            return
        events = self.recorder.generation
        seen = observed(events, plan, self.profile, self.hardware, calibration)
        if seen is not None:
            self._log.add(seen)

    # ---- engine -----------------------------------------------------------------------------------

    def _engine(self) -> Chain:
        plan = self._planned()
        if self._chain is None:
            message = Load(
                str(self.checkpoint.folder), plan.placement, plan.problem.workload.context,
                plan.problem.workload.batch,
                plan.problem.slots, self.streaming, plan.problem.workload.kv_precision,
            )  # fmt: skip
            heard = LoadMeter(self._tell, self._stopped)
            self._chain = Chain(message, self._isolate, self._on_restart, self.messages.append, heard)
        self._chain.restarts = 0
        return self._chain

    def _tell(self, event: Event) -> None:
        for observe in (self._observer, self.on_progress):
            if observe is not None:
                observe(event)

    def _stopped(self) -> bool:
        return self.generating and self._cancelled.is_set()

    def _on_restart(self, reason: str, memory: bool) -> Placement | None:
        """Say what happened in one sentence and give the placement to go on with."""
        plan = self._planned()
        sentence = f"During the generation {reason}; the text is kept, a new engine goes on from the last token"
        placement = None
        if memory:
            with suppress(InfeasibleError):
                plan = solve(_shrunk(plan), seed=plan.seed, stop=MaxSeconds(1.0), start=plan)
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
                f"last run  {self.stats.tokens} tokens, {format_speed(self.stats.tokens_per_second)} tokens/s, "
                f"first after {format_seconds(self.stats.ttft_seconds)}, peak memory {peak}"
            )
        if self.calibration is not None:
            lines += ["predictions", log_words(self.predictions, self.calibration)]
        return "\n".join(lines)


def _shrunk(plan: PlanResult) -> PlanningProblem:
    """Return the plan's problem with every memory at three quarters of what the plan takes of it."""
    problem = plan.problem
    taken = {d.name: plan.prediction.peak_bytes.get(d.name, 0) for d in problem.devices if d.executes}
    return problem.with_caps({name: int(0.75 * min(problem.cap(name), used)) for name, used in taken.items() if used})
