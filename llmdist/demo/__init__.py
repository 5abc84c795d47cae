"""The bundled demo model, and how it was made: grammar, training script, score."""

from __future__ import annotations

from pathlib import Path

__all__ = ["model_path"]


def model_path() -> Path:
    """Return the folder of the bundled demo model."""
    return Path(__file__).parent / "model"
