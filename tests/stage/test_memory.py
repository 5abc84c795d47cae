"""Memory for real: a 2 GB model under a cap of 700 MB, and an engine that the system kills for its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from synthetic_checkpoint import write_checkpoint

from llmdist.errors import StageError
from llmdist.planner.placement import Placement
from llmdist.stage.chain import Chain
from llmdist.stage.local import ChildStage, InlineStage
from llmdist.stage.messages import Failed, Load

GIB = 1 << 30
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads and limits memory through Linux interfaces")

CAPPED_RUN = """
import json, sys
from pathlib import Path

def high_water(pid="self"):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

import torch, transformers, llmdist
base = high_water()
session = llmdist.load(sys.argv[1])
plan = session.plan(ram=sys.argv[2], context=256, seconds=1)
text = [step.text for step in session.generate("One day Anna the ant walked to the", max_new_tokens=4)]
print(json.dumps({
    "driver": high_water() - base,
    "engine": session.stats.peak_bytes["cpu"],
    "engine_whole": high_water(session.engine_pid),
    "planned": plan.prediction.peak_bytes["cpu"],
    "moved": session.stats.bytes_moved,
    "tokens_per_second": session.stats.tokens_per_second,
    "base": base,
}))
session.unload()
"""


def test_two_gigabytes_run_under_700_megabytes(tmp_path: Path) -> None:
    """Peak memory of load and generate stays within the cap and 0.35 GiB, driver and engine together."""
    total = write_checkpoint(tmp_path, layers=23)
    assert total > 2e9
    command = [sys.executable, "-c", CAPPED_RUN, str(tmp_path), "700MB"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    print(seen)
    assert seen["planned"] <= 700e6
    assert seen["moved"] > 4 * 1.2e9  # the rest came from disk for every token
    assert seen["engine"] + seen["driver"] <= 700e6 + 0.35 * GIB
    assert seen["engine"] >= 0.8 * seen["planned"]  # the accounting is of the engine, not of something else


@pytest.fixture
def limited_group() -> Iterator[Path]:
    """Yield a fresh memory control group, version 1 or 2; skip where none can be made."""
    version_1, version_2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    group = (version_1 if version_1.is_dir() else version_2) / f"llmdist-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no control group can be made here")
    if not any((group / name).exists() for name in ("memory.limit_in_bytes", "memory.max")):
        group.rmdir()
        pytest.skip("the memory controller is not available here")
    yield group
    with suppress(OSError):
        group.rmdir()


def _limit(group: Path, nbytes: int) -> None:
    name = "memory.limit_in_bytes" if (group / "memory.limit_in_bytes").exists() else "memory.max"
    (group / name).write_text(str(nbytes))


def _anonymous_bytes(group: Path) -> int:
    rows = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return int(rows.get("total_rss") or rows["anon"])


LIMITED_RUN = """
import json, sys
import llmdist
from llmdist.events import StageRestarted

folder, mode = sys.argv[1:]
session = llmdist.load(folder)
session.plan(ram="120MB", context=128, seconds=0.5)
tokens, events = [], []
for step in session.generate("One day Anna the ant walked to the", max_new_tokens=7, on_event=events.append):
    tokens.append(step.token_id)
    if len(tokens) == 4 and mode == "limited":
        print("four", flush=True)
        assert sys.stdin.readline() == "go\\n"
        session.plan(ram="1GB", context=128, seconds=0.5)
restarts = [e.reason for e in events if isinstance(e, StageRestarted)]
cap = session.plan_result.problem.cap("cpu")
print(json.dumps({"tokens": tokens, "restarts": restarts, "messages": session.messages, "cap": cap}))
session.unload()
"""


def test_an_engine_killed_for_its_memory_comes_back(tmp_path: Path, limited_group: Path) -> None:
    """The system kills the engine in mid-generation; the driver lives and the tokens are those without a limit."""
    write_checkpoint(tmp_path, hidden=1024, intermediate=2816, layers=16, heads=16, vocab=1024)
    command = [sys.executable, "-c", LIMITED_RUN, str(tmp_path)]
    calm = subprocess.run([*command, "free"], capture_output=True, text=True, timeout=300, check=True)
    expected = json.loads(calm.stdout.splitlines()[-1])["tokens"]
    enter = ["sh", "-c", f'echo $$ > {limited_group}/cgroup.procs; exec "$@"', "sh"]
    pipe = subprocess.PIPE
    run = subprocess.Popen([*enter, *command, "limited"], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert run.stdout is not None and run.stdin is not None
    assert run.stdout.readline() == "four\n"
    _limit(limited_group, _anonymous_bytes(limited_group) + (150 << 20))
    output, error = run.communicate("go\n", timeout=300)
    assert run.returncode == 0, error
    seen = json.loads(output.splitlines()[-1])
    print(seen)
    assert seen["tokens"] == expected
    assert seen["restarts"], "nothing was killed: the limit was too high for this test to mean anything"
    assert "SIGKILL" in seen["restarts"][0] and "memory" in seen["restarts"][0]
    assert seen["cap"] < 1e9, "the cap that killed the engine must not stay in force"


@pytest.mark.parametrize("isolate", [False, True])
def test_memory_that_ends_while_a_model_is_loaded_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolate: bool
) -> None:
    """Not a traceback of the engine's: what happened and what to do, however the stage runs."""
    words = "the engine could not allocate memory"
    monkeypatch.setattr((ChildStage if isolate else InlineStage), "request", lambda *_: Failed("memory", words))
    load = Load(str(tmp_path), Placement((), ()), 8, 1, 0, True)
    with pytest.raises(StageError, match=f"could not be loaded: .*{words}.* smaller cap"):
        Chain(load, isolate)
