"""Progress as the magics show it: lines of a log, a bar in a kernel, the sentence that stays, silence with -q."""

from __future__ import annotations

import time
from threading import Event

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from llmdist.events import Progressed, WorkFinished
from llmdist_magics import load as loaded_by
from llmdist_magics import progress as shown_by
from llmdist_magics.progress import Progress

HALF = Progressed("load", "weights", 0.5, 6 * 10**8, 12 * 10**8, 1.5)
DONE = WorkFinished("load", "weights", 12 * 10**8, 3.1)


class Place:
    """Stands in for a display handle and keeps what was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, view) -> None:
        self.shown.append(view.text)


def test_a_log_has_a_line_and_the_sentence(capsys):
    """Without a terminal the lines go to the error stream, few of them; the sentence stays in the output."""
    progress = Progress()
    for event in (HALF, HALF, DONE):
        progress(event)
    said = capsys.readouterr()
    assert said.err == "loading weights: 600 MB of 1.2 GB (50%), 400 MB/s, about 2 s left\n"
    assert said.out == "Loaded 1.2 GB of weights in 3.10 s, 387 MB/s.\n"


def test_a_bar_is_taken_away_at_the_end_and_after_an_error(monkeypatch, capsys):
    """The bar has a name for screen readers; when the work ends, well or not, nothing of it is left."""
    monkeypatch.setattr(shown_by, "in_notebook", lambda: True)
    for ends in (lambda progress: progress(DONE), lambda progress: progress.close()):
        progress = Progress()
        progress._place = place = Place()
        progress(HALF)
        ends(progress)
        assert place.shown == ["loading weights: 600 MB of 1.2 GB (50%), 400 MB/s, about 2 s left", ""]


def test_quiet_and_quick_work_say_nothing(capsys):
    """-q is silent; work of a moment shows no bar and leaves no sentence."""
    for event in (HALF, DONE):
        Progress(quiet=True)(event)
    Progress()(Progressed("load", "weights", 0.5, 10, 20, 0.01))
    Progress()(WorkFinished("load", "weights", 20, 0.02))
    assert capsys.readouterr() == ("", "")


def test_the_first_generation_says_what_it_loaded_and_made(monkeypatch, tmp_path):
    """Quantised blocks are told once, before the text; the next generation loads nothing; -q says nothing."""
    monkeypatch.setattr("llmdist.model.quantize.cache_folder", lambda: tmp_path)
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "llmdist_magics")
    try:
        shell.run_line_magic("llm_load", "demo --inline -q")
        said = []
        for quiet in ("", "", "-q "):
            if quiet or not said:
                precision = "int8" if quiet else "int4"
                shell.run_line_magic("llm_plan", f"--precision {precision} --seconds 0.2 --context 99 -q")
            with capture_output() as shown:
                shell.run_line_magic("llm_generate", f"{quiet}--max-new-tokens 3 One day Anna")
            said.append(shown.stdout)
    finally:
        shell.run_line_magic("unload_ext", "llmdist_magics")
        InteractiveShell.clear_instance()
    first, second, quiet = said
    assert first.startswith("Loaded ") and "; made int4 for 17 blocks, kept for the next load.\n" in first
    assert first.endswith(second) and "Loaded" not in second + quiet and shown.stderr == ""


@pytest.mark.parametrize("work", ["download", "measure"])
def test_other_work_is_shown_alike(work, capsys):
    """Downloads and measuring have their own words."""
    Progress()(WorkFinished(work, "this machine" if work == "measure" else "acme/tiny", 10**9, 10.0))
    words = {"download": "Downloaded 1 GB of acme/tiny in 10.00 s, 100 MB/s.", "measure": "Measured this machine"}
    assert capsys.readouterr().out.startswith(words[work])


def waiting_load(monkeypatch, go_on: Event, told: Event) -> None:
    """Make the next loads say that they are half done and wait for `go_on`."""
    really = loaded_by.llmdist.load

    def load(*given, progress, **more):
        progress(HALF)
        told.set()
        assert go_on.wait(30)
        progress(HALF)
        return really(*given, progress=progress, **more)

    monkeypatch.setattr(loaded_by.llmdist, "load", load)


def test_a_load_in_the_background_tells_how_far_it_is_and_then_is_the_session(shell, monkeypatch):
    """The handle has bytes, rate and time left; other magics say that it still loads; a second load is refused."""
    go_on, told = Event(), Event()
    waiting_load(monkeypatch, go_on, told)
    with capture_output() as shown:
        job = shell.run_line_magic("llm_load", "demo --inline --background")
        assert told.wait(30)
        assert job.running and job.result is None
        words = "load is running: loading weights: 600 MB of 1.2 GB (50%), 400 MB/s, about 2 s left"
        assert job.poll() == words and job.text == words.removeprefix("load is running: ")
        for magic in ("llm_plan", "llm_load"):
            with pytest.raises(UsageError, match="about 2 s left"):
                shell.run_line_magic(magic, "demo --background" if magic == "llm_load" else "-q")
        go_on.set()
        session = job.wait(60)
    assert session is shell.user_ns["llm"] and job.poll() == "load ended"
    assert "demo is loaded; the session is named llm." in shown.stdout


@pytest.mark.parametrize("background", ["", "--background --out text"])
def test_a_load_that_ends_during_a_generation_waits_for_its_end(shell, monkeypatch, background):
    """The text of the model before is whole and says whose it is; then the new model takes its place."""
    shell.run_line_magic("llm_load", "demo --inline -q")
    shell.run_line_magic("llm_plan", "--seconds 0.2 --context 128 -q")
    before = shell.user_ns["llm"]
    between = before._between
    go_on, told = Event(), Event()
    waiting_load(monkeypatch, go_on, told)

    def slow() -> bool:
        go_on.set()
        time.sleep(0.05)
        return between()

    with capture_output() as shown:
        job = shell.run_line_magic("llm_load", "demo --inline --background")
        assert told.wait(30)
        before._between = slow
        shell.run_line_magic("llm_generate", f"{background} --max-new-tokens 40 One day Anna the ant walked")
        if background:
            shell.user_ns["text"].wait(60)
        stats = before.stats
        session = job.wait(60)
    assert (stats.tokens, stats.finish_reason) == (40, "length")
    assert session is shell.user_ns["llm"] is not before and job.poll() == "load ended"
    assert "This runs on demo; the load is running: loading weights: 600 MB" in shown.stdout


def test_a_load_that_waits_can_be_stopped(shell, monkeypatch):
    """The handle says what it waits for; stop() leaves the model before."""
    shell.run_line_magic("llm_load", "demo --inline -q")
    before, state = shell.user_ns["llm"], shell._llmdist_state
    with capture_output() as shown, state.used():
        job = shell.run_line_magic("llm_load", "demo --inline --background")
        while "waits" not in job.poll():
            time.sleep(0.01)
        assert job.text == "demo is open, and waits for the end of what runs in the model before"
        job.stop()
        with pytest.raises(UsageError, match="The load of demo was stopped"):
            job.wait(30)
    assert shell.user_ns["llm"] is before and "Not loaded." in shown.stdout


def test_a_stopped_load_leaves_the_model_before(shell, monkeypatch):
    """stop() ends it at its next step with a sentence; what was loaded stays loaded."""
    shell.run_line_magic("llm_load", "demo --inline -q")
    before = shell.user_ns["llm"]
    go_on, told = Event(), Event()
    waiting_load(monkeypatch, go_on, told)
    with capture_output() as shown:
        job = shell.run_line_magic("llm_load", "demo --inline --background --out job")
        assert told.wait(30)
        job.stop()
        go_on.set()
        with pytest.raises(UsageError, match="The load of demo was stopped"):
            job.wait(30)
    assert shell.user_ns["llm"] is before and shell.user_ns["job"] is job
    assert "Not loaded. The load of demo was stopped" in shown.stdout
