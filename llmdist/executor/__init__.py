"""Executing a placement: the schedule, the staging slots, the passes."""

from ..model.checkpoint import Checkpoint
from .executor import Executor, Pass
from .schedule import Compute, Copy, Schedule, build_schedule

__all__ = ["Compute", "Copy", "Executor", "Pass", "Schedule", "build_schedule", "executor_for"]


def executor_for(checkpoint: Checkpoint) -> type[Executor]:
    """Return the class that runs the model: our own layers, or transformers' where there are none."""
    if not checkpoint.config.foreign:
        return Executor
    from .foreign import ForeignExecutor  # transformers takes seconds to import

    return ForeignExecutor
