"""A real SIGINT in the middle of load, plan and generate: the state before stays and everything goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")

RUN = """
import json, sys, threading, time
import llmdist, psutil

where = sys.argv[1]
PROMPT = "One day Anna the ant walked to the"

def say():
    print("now", flush=True)

session = llmdist.load("demo")
session.plan(context=256, seconds=0.3)
expected = [step.token_id for step in session.generate(PROMPT, max_new_tokens=20)]
plan = session.plan_result
kept, interrupted = None, False
try:
    if where == "load":
        real = llmdist.session.Checkpoint.open
        def slow(folder):
            opened = real(folder); say(); time.sleep(30); return opened
        llmdist.session.Checkpoint.open = slow
        llmdist.load("demo")
    elif where == "plan":
        say(); session.plan(ram="6MiB", context=256, seconds=60, on_event=lambda event: time.sleep(0.05))
        time.sleep(30)
    else:
        for step in session.generate(PROMPT, max_new_tokens=200):
            if step.index == 5:
                kept = session.text; say()
            time.sleep(0.05)
except KeyboardInterrupt:
    interrupted = True
text = session.text
again = [step.token_id for step in session.generate(PROMPT, max_new_tokens=20)]
children = len(psutil.Process().children())
same_plan = session.plan_result is plan
session.unload()
print(json.dumps({"interrupted": interrupted, "kept": kept is None or text.startswith(kept) and len(text) >= len(kept),
    "again": again == expected, "children": children, "same_plan": same_plan,
    "left": len(psutil.Process().children())}))
"""


@pytest.mark.parametrize("where", ["load", "plan", "generate"])
def test_an_interrupt_loses_nothing(where: str) -> None:
    """The plan in force and the text stay, the next generation is a fresh session's, no engine is left over."""
    pipe = subprocess.PIPE
    run = subprocess.Popen([sys.executable, "-c", RUN, where], stdout=pipe, stderr=pipe, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "now\n", run.communicate()[1]
    time.sleep(0.3)
    engines = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(signal.SIGINT)
    output, error = run.communicate(timeout=120)
    assert run.returncode == 0, error
    seen = json.loads(output.splitlines()[-1])
    wanted = {"interrupted": True, "kept": True, "again": True, "children": 1, "same_plan": True, "left": 0}
    assert seen == wanted
    assert not any(engine.is_running() and engine.status() != psutil.STATUS_ZOMBIE for engine in engines)
