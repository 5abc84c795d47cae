"""A real SIGINT while a magic works: one sentence and no stack, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
ROOT = Path(__file__).parents[2]
PATHS = [str(ROOT), str(ROOT / "magics"), str(ROOT / "widgets"), os.environ.get("PYTHONPATH", "")]
LOAD = "%llm_load demo --inline"
PLANLESS = "%llm_plan --context 64 --seconds 20"
SIMULATED = "%llm_plan --machine rtx4090 --seconds 20"
PARETO = "%llm_plan --pareto --context 128 --seconds 20"
PLAN = "%llm_plan --context 128 --ram 6MiB --seconds 20"
RUN = """
import json, sys, time
import llmdist.session
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.run_cell("%load_ext llmdist_magics")
shell.run_cell("%llm_load demo --inline -q")
shell.run_cell("%llm_plan --seconds 0.2 --context 256 -q")
session = shell.user_ns["llm"]
planner = sys.modules["llmdist.planner.solve"]
planner.OPTIMAL_GAP = -1.0  # no search ends on its own
places = {"load": (llmdist.session.Tokenizer, "open"), "planless": (planner._Search, "open")}

for line in sys.stdin:
    where, line = line.rstrip().split(" ", 1)
    owner, name = places.get(where, (planner, "_iteration"))
    real, calls, plan = getattr(owner, name), [], session.plan_result

    def told(*given):
        calls.append(given)
        if len(calls) == 2 or where in places:
            print("now", flush=True)
            time.sleep({"load": 20, "planless": 1.5}.get(where, 0))
        return real(*given)

    setattr(owner, name, told)
    error = shell.run_cell(line).error_in_exec
    setattr(owner, name, real)
    now = shell.user_ns["llm"]
    print(json.dumps({
        "error": error and f"{type(error).__name__}: {error}", "same": now is session and now.plan_result is plan,
        "context": now.plan_result.problem.workload.context, "front": now.front is not None,
    }), flush=True)
"""


class Shell:
    """A shell in a process of its own, with a model and a plan for 256 tokens in force."""

    def __init__(self) -> None:
        pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)}
        self._run = subprocess.Popen(
            [sys.executable, "-c", RUN], stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment
        )

    def _until(self, end: str) -> list[str]:
        assert self._run.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith(end):
            lines.append(self._run.stdout.readline())
            assert lines[-1], "".join(lines)
        return lines

    def interrupted(self, where: str, line: str, times: int = 1) -> tuple[dict[str, object], str]:
        """Run a magic and interrupt it; return how it ended, and all that it printed then."""
        assert self._run.stdin is not None
        print(where, line, file=self._run.stdin, flush=True)
        self._until("now")
        for _ in range(times):
            time.sleep(0.3)
            self._run.send_signal(signal.SIGINT)
        *shown, end = self._until('{"error"')
        return json.loads(end), "".join(shown)

    def close(self) -> None:
        """End it."""
        self._run.kill()
        self._run.communicate()


@pytest.fixture(scope="module")
def other() -> Iterator[Shell]:
    """Return a shell that can be interrupted."""
    shell = Shell()
    yield shell
    shell.close()


def test_an_interrupt_ends_a_load_and_leaves_the_model_before(other: Shell) -> None:
    """One sentence says what was stopped and what is loaded."""
    end, shown = other.interrupted("load", LOAD)
    assert end["error"] == "UsageError: The load of demo was stopped; demo is still loaded."
    assert end["same"] and "Traceback" not in shown


def test_a_second_interrupt_ends_a_search_that_has_no_plan_yet(other: Shell) -> None:
    """One sentence, an error to "Run all", and the plan before stays in force, also once the search had time to end."""
    end, shown = other.interrupted("planless", PLANLESS, times=2)
    sentence = "%llm_plan was stopped before it found anything; what was in force before still is."
    assert end["error"] == f"UsageError: {sentence}" and "Traceback" not in shown
    assert end["same"]
    time.sleep(2.0)
    assert other.interrupted("simulated", SIMULATED)[0]["context"] == 256


@pytest.mark.parametrize(
    "line, sentence",
    [
        (SIMULATED, "s with the best simulated plan so far."),
        (PARETO, "s with the front found so far."),
        (PLAN, "s; the best plan so far is in force."),
    ],
)
def test_an_interrupt_ends_a_search_with_the_best_so_far(other: Shell, line: str, sentence: str) -> None:
    """The plan or the front is there, as after the view's own Stop, and the cell ends well."""
    end, shown = other.interrupted("search", line)
    assert end["error"] is None and "Traceback" not in shown
    assert "Stopped after " in shown and sentence in shown
    assert (end["same"], end["context"]) == ((False, 128) if line == PLAN else (True, 256))
    assert end["front"] or line == SIMULATED


def test_an_interrupt_ends_a_replan_with_the_best_so_far(other: Shell) -> None:
    """It is the draft then; the plan in force stays."""
    end, shown = other.interrupted("search", "%llm_place --seconds 20 replan")
    assert end["error"] is None and end["same"] and "Traceback" not in shown
    assert "s; the draft is the best placement so far." in shown and "The ants kept 0 locked blocks" in shown


def test_the_stop_button_of_a_notebook_ends_a_search(tmp_path: Path) -> None:
    """In a kernel with views the lasting picture of the plan stands there, with a sentence and no stack."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), "IPYTHONDIR": str(tmp_path)}
    manager, client = start_new_kernel(kernel_name="python3", env=environment)

    def run(source: str, interrupt: bool = False) -> tuple[str, str]:
        """Return how the cell ended, and all it showed."""
        asked, shown = client.execute(source), ""
        while True:
            message = client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != asked:
                continue
            shown += str(message["content"])
            if interrupt and message["msg_type"] == "display_data":  # the view, before the search begins
                time.sleep(1.0)
                manager.interrupt_kernel()
                interrupt = False
            if message["content"].get("execution_state") == "idle":
                return client.get_shell_msg(timeout=60)["content"]["status"], shown

    try:
        run("%load_ext llmdist\n%llm_load demo --inline -q")
        run("import sys; sys.modules['llmdist.planner.solve'].OPTIMAL_GAP = -1.0  # no search ends on its own")
        status, shown = run(PLAN, interrupt=True)
        assert status == "ok" and "s; the best plan so far is in force." in shown and "Traceback" not in shown
        assert "data:image/svg" in shown and "No plan was made" not in shown
        assert "128" in run("print(llm.plan_result.problem.workload.context)")[1]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
