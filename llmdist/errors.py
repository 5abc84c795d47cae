"""Every error that a user can cause, under one root.

    LlmdistError
    ├── ModelError        the checkpoint, its config or its tokenizer
    ├── HardwareError     a device that was asked for and is not there
    ├── PlanError         a problem or placement that cannot be
    │   └── InfeasibleError   nothing fits under the given caps
    ├── GenerationError   a prompt or an option of a generation
    ├── StageError        the engine process ended or answered with a failure
    └── UnitError         a size or duration that cannot be read

A message has three parts: what was asked, what was found (with numbers), what to do next.
"""

from __future__ import annotations

__all__ = [
    "GenerationError",
    "HardwareError",
    "InfeasibleError",
    "LlmdistError",
    "ModelError",
    "PlanError",
    "StageError",
    "UnitError",
]


class LlmdistError(Exception):
    """The root of every error that a user can cause."""


class ModelError(LlmdistError):
    """The checkpoint, its config or its tokenizer cannot be used."""


class HardwareError(LlmdistError):
    """A device that was asked for is missing or cannot be measured."""


class PlanError(LlmdistError):
    """A planning problem, placement or plan file is not valid."""


class InfeasibleError(PlanError):
    """No placement fits under the given memory caps."""


class GenerationError(LlmdistError):
    """A prompt or an option of a generation is not valid."""


class StageError(LlmdistError):
    """The engine process ended, or answered with a failure."""


class UnitError(LlmdistError, ValueError):
    """A size or duration cannot be read."""
