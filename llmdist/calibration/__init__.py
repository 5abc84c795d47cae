"""Calibration: measured runs correct the prices that plans are made with, and say how far predictions are off."""

from __future__ import annotations

from .fit import PRIOR_SPREAD, Calibration, Checked, fit
from .log import CalibrationLog
from .observation import Observation, Term, model_key
from .observe import observed
from .pricing import term_words
from .words import log_words

__all__ = [
    "PRIOR_SPREAD", "Calibration", "CalibrationLog", "Checked", "Observation", "Term", "fit", "log_words", "model_key",
    "observed", "term_words",
]  # fmt: skip
