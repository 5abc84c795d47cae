"""What a search returns: the placement, what it predicts, and how close it is to the best possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..units import format_bytes, format_seconds, format_speed
from .placement import Assignment, Placement
from .problem import PlanningProblem

if TYPE_CHECKING:
    from .what_if import WhatIf

__all__ = ["HistoryRow", "PlanResult", "Prediction"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted speed and memory of one placement under one workload.

    `peak_bytes` and `weight_bytes` are per device name; `bytes_per_token` are copied each decode step;
    `block_seconds` and `copy_seconds` are per block in the model's order. `spread` is the relative deviation
    that measured speeds have shown.
    """

    tokens_per_second: float
    tpot_seconds: float
    ttft_seconds: float
    peak_bytes: Mapping[str, int]
    bytes_per_token: int
    block_seconds: tuple[float, ...]
    copy_seconds: tuple[float, ...]
    spread: float = 0.0

    @property
    def band(self) -> tuple[float, float]:
        """Return the tokens/s between which a run is expected; both the prediction when no spread is known."""
        return self.tokens_per_second * exp(-2 * self.spread), self.tokens_per_second * exp(2 * self.spread)

    def objective_seconds(self, problem: PlanningProblem) -> float:
        """Return what the problem's objective makes of this prediction of it; see `cost.reference`."""
        if problem.objective == "latency":
            return self.tpot_seconds
        if problem.objective == "throughput":
            return problem.workload.batch / self.tokens_per_second
        return self.ttft_seconds + max(0, problem.workload.new_tokens - 1) * self.tpot_seconds


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One iteration of the search: objective seconds, entropy of the trail in 0..1."""

    iteration: int
    elapsed_seconds: float
    best: float
    mean: float
    entropy: float


@dataclass(frozen=True, slots=True)
class PlanResult:
    """A plan. `objective_seconds` and `bound_seconds` are in the objective's unit of seconds.

    `simulated` says that no real device stood behind a number; `machine` names a known machine planned for.
    """

    problem: PlanningProblem
    placement: Placement
    prediction: Prediction
    objective_seconds: float
    bound_seconds: float
    method: str
    seed: int
    iterations: int
    evaluations: int
    elapsed_seconds: float
    history: tuple[HistoryRow, ...] = ()
    trail: tuple[tuple[float, ...], ...] = ()
    simulated: bool = False
    machine: str = ""

    @property
    def gap(self) -> float:
        """Return how far the plan is at most from the best possible: 0.012 means 1.2 %."""
        return max(0.0, self.objective_seconds / self.bound_seconds - 1.0)

    @property
    def bound_tokens_per_second(self) -> float:
        """Return the tokens/s that no placement can exceed."""
        return self.prediction.tokens_per_second * self.objective_seconds / self.bound_seconds

    @property
    def proven_optimal(self) -> bool:
        """Whether the gap is below 0.01 %."""
        return self.gap < 1e-4

    @property
    def provenance(self) -> str:
        """Return ``(simulated: rtx4090)`` for a machine that is not there, or nothing."""
        return f"(simulated{': ' + self.machine if self.machine else ''})" if self.simulated else ""

    def what_if(self, moves: Mapping[str, Assignment | str | Sequence[str]]) -> WhatIf:
        """Return what the plan would become with some blocks moved: block name -> assignment or its words."""
        from .what_if import what_if

        return what_if(self, moves)

    def why(self, block: str) -> str:
        """Return in one sentence why `block` is where it is, and what the best change of it would cost."""
        from .why import why

        return why(self, block)

    def prediction_for(self, sequences: int) -> Prediction:
        """Return the prediction of the placement for so many sequences at once, as many as planned or fewer."""
        from .pricing import evaluate

        if sequences == self.problem.workload.batch:
            return self.prediction
        return evaluate(replace(self.problem, workload=replace(self.problem.workload, batch=sequences)), self.placement)

    def bottleneck(self) -> str:
        """Return in one sentence which link, memory or device limits the time per token."""
        from .bottleneck import bottleneck

        return bottleneck(self)

    def summary(self) -> str:
        """Return the plan in a few lines of text."""
        prediction, note = self.prediction, f" {self.provenance}" if self.simulated else ""
        load = self.problem.workload
        unit = "token" if load.batch == 1 else f"pass of {load.batch}"
        quality = "proven optimal" if self.proven_optimal else f"at most {self.gap:.1%} from the best possible"
        memory = ", ".join(
            f"{name} {format_bytes(used)} of {format_bytes(self.problem.cap(name))}"
            for name, used in prediction.peak_bytes.items()
        )
        return "\n".join(
            [
                self.placement.counted() + note,
                self.placement.in_words(),
                f"predicted{note} {format_speed(prediction.tokens_per_second)} tokens/s{self.band_words()} "
                f"({format_seconds(prediction.tpot_seconds)} per {unit}, "
                f"first after {format_seconds(prediction.ttft_seconds)} for {load.prompt_tokens} tokens of prompt); "
                f"{quality}",
                f"memory{note} {memory}; {format_bytes(prediction.bytes_per_token)} copied per pass"
                if load.tokens_per_pass > 1 or load.batch > 1
                else f"memory{note} {memory}; {format_bytes(prediction.bytes_per_token)} copied per token",
                *self._speculation_words(),
            ]
        )

    def _speculation_words(self) -> list[str]:
        """Return a line on guesses and on what a draft model holds, where the plan is for speculation."""
        load, held = self.problem.workload, self.problem.held
        if load.tokens_per_pass == 1:
            return []
        draft = ", ".join(f"{name} {format_bytes(taken)}" for name, taken in held.items() if taken)
        words = f"speculation {load.tokens_per_pass - 1} guesses, {load.accepted:.2f} tokens expected per pass"
        if load.draft_seconds:
            words += f", {format_seconds(load.draft_seconds)} of guessing"
        return [f"{words}; the draft holds {draft} beside the plan" if draft else words]

    def band_words(self) -> str:
        """Return ``, 8.1 to 9.9 expected``, or nothing where no spread is known."""
        low, high = self.prediction.band
        return f", {format_speed(low)} to {format_speed(high)} expected" if self.prediction.spread else ""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("PlanResult(...)" if cycle else self.summary())

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        data = {name: getattr(self, name) for name in self.__slots__}
        data |= {
            "problem": self.problem.to_json(),
            "placement": self.placement.to_json(),
            "prediction": asdict(self.prediction),
            "history": [asdict(row) for row in self.history],
        }
        return data

    def save(self, path: str | Path) -> None:
        """Write the plan to a small JSON file with one line per block."""
        from .files import save_plan

        save_plan(self, path)

    @classmethod
    def load(cls, path: str | Path) -> PlanResult:
        """Return the plan that `save` wrote; PlanError names everything that is wrong with the file."""
        from .files import load_plan

        return load_plan(path)
