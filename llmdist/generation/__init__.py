"""Generation: sampling, and the loop of prefill, decode step, stream."""

from .generate import GenerationStats, GenerationStep, Stream
from .sampling import Sampling, sample

__all__ = ["GenerationStats", "GenerationStep", "Sampling", "Stream", "sample"]
