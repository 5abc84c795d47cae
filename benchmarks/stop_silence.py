"""How long Stop takes: from the interrupt until no pass begins and until the cell has ended, on the demo model.

    python benchmarks/stop_silence.py [tries]

Each try interrupts `%llm_generate` at another moment, as the notebook's stop button does, and checks that the text is
kept and that the next call gives the tokens of a fresh session. Prints milliseconds.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from statistics import median

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from llmdist.session import Session

PROMPT = "One day Anna the ant walked to the"
LONG = f"--max-new-tokens 460 --temperature 1 --seed 4 {PROMPT}"


def listen(session: Session) -> list[float]:
    """Return a list that gets the moment of every token."""
    came: list[float] = []
    between = session._between

    def timed() -> bool:  # asked before each pass; a pass that is asked for gives a token
        go_on = between()
        if go_on:
            came.append(time.monotonic())
        return go_on

    session._between = timed  # type: ignore[method-assign]
    return came


def one_try(shell: InteractiveShell, came: list[float], delay: float) -> tuple[float, float, bool]:
    """Return milliseconds until the last pass began and until the end of the cell, and whether the text was kept."""
    session, pressed = shell.user_ns["llm"], []

    def press() -> None:
        while session.stats.tokens < 2:
            time.sleep(0.001)
        time.sleep(delay)
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    session.stats.tokens = 0
    threading.Thread(target=press, daemon=True).start()
    with capture_output() as shown:
        shell.run_line_magic("llm_generate", LONG)
    ended = time.monotonic()
    kept = session.stats.finish_reason == "interrupted" and session.text in shown.stdout and len(session.text) > 0
    return 1e3 * max(0.0, came[-1] - pressed[0]), 1e3 * (ended - pressed[0]), kept


def main() -> None:
    """Measure and print."""
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "llmdist")
    with capture_output():
        shell.run_line_magic("llm_load", "demo -q")
        shell.run_line_magic("llm_plan", "--ram 8MiB --context 500 --seconds 0.5 -q")
    session, chance = shell.user_ns["llm"], random.Random(0)
    fresh = [step.token_id for step in session.generate(PROMPT, 24)]
    rows, same, came = [], [], listen(session)
    for _ in range(tries):
        rows.append(one_try(shell, came, chance.uniform(0.0, 0.25)))
        same.append([step.token_id for step in session.generate(PROMPT, 24)] == fresh)
    for name, values in (("last pass", [r[0] for r in rows]), ("cell ended", [r[1] for r in rows])):
        print(f"{name}: median {median(values):.1f} ms, worst {max(values):.1f} ms of {tries}")
    print(f"text kept in {sum(r[2] for r in rows)} of {tries}, next call as fresh in {sum(same)} of {tries}")
    session.unload()


if __name__ == "__main__":
    main()
