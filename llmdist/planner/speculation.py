"""Speculation in a plan: tokens that a pass is expected to yield, what guessing takes, and what a draft model holds.

With a chance `rate` that a guess is right where those before it were, k guesses yield rate + rate^2 + .. + rate^k
tokens beside the model's own (Leviathan et al. 2023, arXiv 2211.17192). A lookup in the text so far guesses in some
passes only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .problem import PlanningProblem

__all__ = ["ASSUMED", "Acceptance", "measured_acceptance", "speculating"]

LEAST_PASSES = 8  # a run with fewer guessed passes says too little


@dataclass(frozen=True, slots=True)
class Acceptance:
    """`rate`: chance of a guess to be right; `share`: passes that have guesses; `passes` it was measured over, or 0."""

    rate: float
    share: float
    passes: int = 0

    def tokens_per_pass(self, draft_tokens: int) -> float:
        """Return the tokens that a pass with up to `draft_tokens` guesses yields, at least 1."""
        return 1.0 + self.share * sum(self.rate**i for i in range(1, draft_tokens + 1))


#: Before a run has shown better: by lookup in the text, and by a smaller model of the same family.
ASSUMED = {"ngram": Acceptance(0.5, 0.3), "model": Acceptance(0.6, 1.0)}


def measured_acceptance(passes: int, guessed: int, accepted: int, rejected: int) -> Acceptance | None:
    """Return what a finished generation shows; None where too few of its passes had guesses.

    Of `passes` after the prefill `guessed` had guesses, of which `accepted` were right and `rejected` passes ended at a
    wrong one. The rate is that of a run which ends at the first wrong guess: right / (right + passes that ended so).
    """
    if guessed < LEAST_PASSES or passes < guessed:
        return None
    return Acceptance(accepted / max(1, accepted + rejected), guessed / passes, guessed)


def speculating(
    problem: PlanningProblem, draft_tokens: int, acceptance: Acceptance, draft_seconds: float, held: Mapping[str, int]
) -> PlanningProblem:
    """Return `problem` with speculation in it.

    Parameters
    ----------
    draft_tokens : guesses per pass. draft_seconds : of one guess.
    held : bytes per device that the draft holds; the caps count them.
    """
    tokens = 1 + draft_tokens
    workload = replace(
        problem.workload, tokens_per_pass=tokens, accepted_share=acceptance.tokens_per_pass(draft_tokens) / tokens,
        draft_seconds=acceptance.share * draft_tokens * draft_seconds,
    )  # fmt: skip
    return replace(problem, workload=workload, held=dict(held))
