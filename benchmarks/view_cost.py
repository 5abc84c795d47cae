"""What the views cost: tokens/s with the live view and without, ten pairs in one JupyterLab, and the time to silence.

    python benchmarks/view_cost.py [tokens]

Runs %llm_generate on the demo model in a real browser, alternating which of a pair comes first, and prints JSON.
Needs Chromium; the machine should do nothing else.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "browser"))
from lab import open_lab, write_notebook

PAIRS = 10
SETUP = """%load_ext llmdist
%llm_load demo -q
%llm_plan --ram 8MiB --context 500 -q --seconds 0.5
import json, time
def once(views):
    get_ipython().run_line_magic("config", f"LLMDist.views = {views}")
    line = "--max-new-tokens TOKENS One day Anna the ant walked to the"
    if views:
        get_ipython().run_line_magic("llm_generate", line)
    else:
        from IPython.utils.capture import capture_output
        with capture_output():
            get_ipython().run_line_magic("llm_generate", line)
    return llm.stats.tokens, llm.stats.tokens_per_second
once(False); once(True)
print("warm")"""
MEASURE = """rows = []
for pair in range(PAIRS):
    order = [True, False] if pair % 2 else [False, True]
    got = {views: once(views) for views in order}
    rows.append([*got[False], *got[True]])
print("ROWS" + json.dumps(rows) + "END")"""
STOP = """between, asked = llm._between, {}
def timed():
    time.sleep(0.01)
    go_on = between()
    if not go_on:
        asked["silent"] = time.time()
    return go_on
llm._between = timed
get_ipython().run_line_magic("config", "LLMDist.views = True")
get_ipython().run_line_magic("llm_generate", "--max-new-tokens 450 One day Anna the ant walked to the")
llm._between = between
print("SILENT" + json.dumps([asked.get("silent", 0), llm.stats.tokens]) + "END")"""


def read(lab, index: int, mark: str) -> list:
    """Return the JSON that a cell printed between `mark` and END."""
    text = lab.cell(index).inner_text()
    return json.loads(text[text.index(mark) + len(mark) : text.index("END")])


def stop_seconds(lab, index: int) -> tuple[float, int]:
    """Press the view's Stop while tokens stream; return seconds from the click until no token comes, and the tokens."""
    lab.run_cell(index)
    lab.page.wait_for_selector(".llmdist-live button", timeout=60_000)
    time.sleep(0.3)  # the text may end by itself within a few seconds
    press = "() => { document.querySelector('.llmdist-live button').click(); return Date.now() / 1000; }"
    clicked = lab.page.evaluate(press)
    lab.wait_for_cell(index)
    lab.page.wait_for_timeout(500)
    silent, tokens = read(lab, index, "SILENT")
    return silent - clicked, tokens


def main() -> None:
    """Measure and print."""
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    cells = [SETUP.replace("TOKENS", str(tokens)), MEASURE.replace("PAIRS", str(PAIRS)), STOP, STOP, STOP]
    with tempfile.TemporaryDirectory() as folder:
        write_notebook(Path(folder) / "cost.ipynb", cells)
        with open_lab(Path(folder), "cost.ipynb") as lab:
            lab.wait_for_kernel()
            lab.run_cell(0)
            lab.wait_for_text("warm", 120)
            lab.run_cell(1)
            lab.wait_for_text("ROWS", 240)
            rows = read(lab, 1, "ROWS")
            print(json.dumps(rows), flush=True)
            stops = [stop_seconds(lab, index) for index in (2, 3, 4)]
    ratios = [with_views / without for _, without, _, with_views in rows]
    print(json.dumps({
        "pairs": rows, "median_without": statistics.median(r[1] for r in rows),
        "median_with": statistics.median(r[3] for r in rows), "median_ratio": statistics.median(ratios),
        "worst_ratio": min(ratios), "stop_seconds": [round(s, 4) for s, _ in stops],
        "stop_tokens": [t for _, t in stops],
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
