"""Stages: the engine behind messages, in a child process or inline, and the chain that drives it."""

from .chain import Chain
from .local import ChildStage, InlineStage, Stage, StageDied

__all__ = ["Chain", "ChildStage", "InlineStage", "Stage", "StageDied"]
