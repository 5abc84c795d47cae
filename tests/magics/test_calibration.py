"""Calibration from a notebook: shown by the status, switched by a default, absent from lessons."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from IPython.utils.capture import capture_output

sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))
from played import HARDWARE


@pytest.fixture
def shell(shell, monkeypatch):
    """A fresh shell with the extension, on a machine that need not be measured."""
    monkeypatch.setattr("llmdist.session.hardware_profile", lambda folder, progress: HARDWARE)
    return shell


def said(shell, name: str, line: str = "") -> str:
    """Run a magic and return what it printed."""
    with capture_output() as shown:
        shell.run_line_magic(name, line)
    return shown.stdout


def test_the_status_shows_the_last_predictions_and_the_default_hides_them(shell):
    """A run appears with its band; with `%config LLMDist.calibrate = False` plans are as measured again."""
    said(shell, "llm_load", "demo -q")
    said(shell, "llm_plan", "--seconds 0.2 --context 256 -q")
    shell.user_ns["llm"].forget_predictions()
    said(shell, "llm_generate", "--max-new-tokens 12 One day")
    words = said(shell, "llm_status")
    assert "predicted" in words and "One run of demo corrected" in words
    assert " expected (" in said(shell, "llm_plan", "--seconds 0.2 --context 256")
    said(shell, "config", "LLMDist.calibrate = False")
    assert " expected (" not in said(shell, "llm_plan", "--seconds 0.2 --context 256")
    assert "One run" not in said(shell, "llm_status")


def test_a_lesson_is_as_measured(shell):
    """No band and no log in a lesson, whatever the machine has learned."""
    said(shell, "llm_load", "demo --lesson 3 -q")
    assert " expected (" not in said(shell, "llm_plan", "--context 256")
    said(shell, "llm_generate", "--max-new-tokens 12 One day")
    assert shell.user_ns["llm"].calibration is None
    assert "corrected" not in said(shell, "llm_status")
