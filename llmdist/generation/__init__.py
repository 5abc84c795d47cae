"""Generation: sampling, the loop of prefill and decode, batches, speculation."""

from .batch import BatchStep, BatchStream
from .generate import GenerationStats, GenerationStep, Stream
from .inputs import stop_texts, token_ids
from .memory_watch import MemoryWatch
from .run import Run
from .sampling import LARGEST_SEED, Sampling, sample
from .speculate import ModelDraft, NgramDraft, SpeculativeStream

__all__ = [
    "LARGEST_SEED", "BatchStep", "BatchStream", "GenerationStats", "GenerationStep", "MemoryWatch", "ModelDraft",
    "NgramDraft", "Run", "Sampling", "SpeculativeStream", "Stream", "sample", "stop_texts", "token_ids",
]  # fmt: skip
