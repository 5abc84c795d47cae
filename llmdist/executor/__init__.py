"""Executing a placement: the schedule, the staging slots, the passes."""

from .executor import Executor, Pass
from .schedule import Compute, Copy, Schedule, build_schedule

__all__ = ["Compute", "Copy", "Executor", "Pass", "Schedule", "build_schedule"]
