"""A robust fit of prices to observations, and how far a new placement's speed then is from its prediction.

Each price gets one factor: the median of measured / predicted over the last runs of the same model, clipped, and drawn
towards 1 while there are few. Other models have no say in the factors: a small model is bound by fixed prices, a large
one by bandwidth, and one factor for both would make one of them worse.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log

from ..hardware.profile import HardwareProfile
from ..model.blocks import ModelProfile
from .observation import Observation, model_key
from .pricing import PASS, corrected, handover_term, pass_seconds, term_words

__all__ = ["PRIOR_SPREAD", "Calibration", "Checked", "fit", "fitted_factors"]

RECENT, CHECKED, TYPICAL_OF = 16, 12, 5
HALF_WEIGHT = 0.2
#: The measured price of a hand-over is the rest of two runs, so it may be near 0 and many times too small.
LARGEST_FACTOR, LARGEST_HANDOVER = 4.0, 32.0
#: A price below this share of the pass tells more of noise than of itself.
LEAST_SHARE = 0.03
#: What predictions without any run were off by on the machines that were tried, and the runs that this counts for.
PRIOR_SPREAD, PRIOR_RUNS, LEAST_SPREAD = 0.10, 2, 0.03
_TO_DEVIATION = 1.4826  # of a median of absolute values, for a normal distribution


@dataclass(frozen=True, slots=True)
class Checked:
    """One placement that was run, and its price by a fit to the runs of all other placements, in seconds per token."""

    observation: Observation
    calibrated_seconds: float

    @property
    def error(self) -> float:
        """Return predicted / measured - 1 of the speed."""
        return self.observation.measured_seconds / self.calibrated_seconds - 1


@dataclass(frozen=True, slots=True)
class Calibration:
    """What runs say of a machine's prices for one model.

    `factors`: price -> measured / predicted (see `Term`). `spread`: relative deviation of measured speeds from what is
    predicted with the factors, for a placement that was not run yet. `settled`: prices seen in runs that copied
    nothing. `runs`: observations of the model behind it all.
    """

    model: str
    factors: Mapping[str, float] = field(default_factory=dict)
    spread: float = PRIOR_SPREAD
    settled: frozenset[str] = frozenset()
    runs: int = 0
    checked: tuple[Checked, ...] = ()

    @property
    def name(self) -> str:
        """Return the model's name without the digest."""
        return self.model.rpartition(" ")[0]

    def applied(self, hardware: HardwareProfile) -> HardwareProfile:
        """Return the profile with corrected prices and the spread."""
        return replace(corrected(hardware, self.factors), spread=self.spread)

    def sentence(self) -> str:
        """Return in one sentence what the runs changed."""
        if not self.runs:
            return f"No run of {self.name} has corrected a price yet; speeds usually spread by {self.spread:.0%}."
        felt = {name: factor for name, factor in self.factors.items() if abs(factor - 1) >= 0.01}
        changed = [f"{term_words(name)} x {factor:.2f}" for name, factor in felt.items()]
        what = ", ".join(changed) if changed else "no price by 1 % or more"
        count = "One run" if self.runs == 1 else f"{self.runs} runs"
        return f"{count} of {self.name} corrected {what}; measured speeds spread by {self.spread:.0%}."


def fitted_factors(observations: Sequence[Observation]) -> dict[str, float]:
    """Return the factor per price that the observations show.

    Where there are runs that copied nothing, they alone speak for computing and for the pass: what a streamed run takes
    beyond them is the price of streaming.
    """
    recent = observations[-RECENT:]
    quiet = _logs([seen for seen in recent if not seen.streams])
    found = {**_logs(recent), **quiet}
    factors = {name: _factor(name, logs) for name, logs in found.items() if not name.startswith(handover_term(""))}
    rests = _logs([_with_rest(seen, factors) for seen in recent])
    factors |= {name: _factor(name, rests[name]) for name in found if name in rests and name not in factors}
    return dict(sorted(factors.items()))


def _with_rest(seen: Observation, factors: Mapping[str, float]) -> Observation:
    """Return the run with its hand-over as what is left at the prices as they are known now.

    The hand-over and these prices follow each other in the chain: one takes less by what another takes more.
    """
    more = sum(
        (factors.get(term.name, term.used) - term.used) * term.predicted_seconds
        for term in seen.terms
        if term.name == PASS or term.name.startswith("compute ")
    )
    terms = tuple(
        replace(term, measured_seconds=max(0.0, term.measured_seconds - more))
        if term.name.startswith(handover_term("")) and term.measured_seconds
        else term
        for term in seen.terms
    )
    return replace(seen, terms=terms)


def _logs(observations: Sequence[Observation]) -> dict[str, list[float]]:
    """Return log(measured / predicted) of every run in which a price was seen and mattered."""
    found: dict[str, list[float]] = defaultdict(list)
    for seen in observations:
        for term in seen.terms:
            share = max(term.predicted_seconds, term.measured_seconds or 0.0) / seen.measured_seconds
            if term.measured_seconds and term.predicted_seconds > 0 and share >= LEAST_SHARE:
                found[term.name].append(log(term.measured_seconds / term.predicted_seconds))
    return dict(found)


def _factor(name: str, logs: Sequence[float]) -> float:
    limit = log(LARGEST_HANDOVER if name.startswith(handover_term("")) else LARGEST_FACTOR)
    typical = min(limit, max(-limit, statistics.median(logs)))
    return exp(typical * len(logs) / (len(logs) + HALF_WEIGHT))


def fit(observations: Sequence[Observation], profile: ModelProfile, hardware: HardwareProfile) -> Calibration:
    """Return the calibration of `profile` on `hardware` from the machine's observations, the latest last."""
    key = model_key(profile)
    own = [seen for seen in observations if seen.model == key and len(seen.chain) == len(profile.blocks)][-RECENT:]
    if not own:
        others = [log(seen.predicted_seconds / seen.measured_seconds) for seen in observations[-RECENT:]]
        return Calibration(key, spread=_spread(others))
    checked = _checked(own, profile, hardware)
    deviations = [log(one.calibrated_seconds / one.observation.measured_seconds) for one in checked]
    settled = frozenset(_logs([seen for seen in own if not seen.streams]))
    return Calibration(key, fitted_factors(own), _spread(deviations), settled, len(own), checked)


def _checked(
    own: Sequence[Observation], profile: ModelProfile, hardware: HardwareProfile
) -> tuple[Checked, ...]:
    """Return a typical run of each placement with its price by a fit that has not seen the placement.

    It is the median of the last few: one that other work slowed says nothing of the next.
    """
    latest: dict[str, list[Observation]] = {}
    for seen in own:
        latest[seen.placement] = [*latest.pop(seen.placement, []), seen]
    names = tuple(block.name for block in profile.blocks)
    found = []
    for key, runs in list(latest.items())[-CHECKED:]:
        ordered = sorted(runs[-TYPICAL_OF:], key=lambda run: run.measured_seconds)
        seen = ordered[(len(ordered) - 1) // 2]
        factors = fitted_factors([other for other in own if other.placement != key])
        placement = seen.assignments(names)
        seconds = pass_seconds(profile, corrected(hardware, factors), placement, seen.context, seen.slots, seen.kv)
        found.append(Checked(seen, seconds))
    return tuple(found)


def _spread(deviations: Sequence[float]) -> float:
    """Return the robust deviation around 0, mixed with what is usual while there are few."""
    usual = PRIOR_RUNS * PRIOR_SPREAD
    if not deviations:
        return PRIOR_SPREAD
    own = _TO_DEVIATION * statistics.median(map(abs, deviations))
    return max(LEAST_SPREAD, (usual + len(deviations) * own) / (PRIOR_RUNS + len(deviations)))
