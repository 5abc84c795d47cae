"""What the live view of a generation costs: tokens/s with it and without, processor time per process, time to silence.

    python benchmarks/view_cost.py [--tokens 105] [--pairs 10] [--no-stop]

Runs %llm_generate on the demo model in a real browser, alternating which of a pair comes first, and prints JSON. The
demo ends its story after about 105 tokens; asked for more, its end token is ignored, so that the cost of building the
view and the cost of keeping it up can be told apart. Needs Chromium on Linux; the machine should do nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "browser"))
from lab import open_lab, write_notebook

STORY = 105  # tokens after which the demo ends by itself
PROMPT = "One day Anna the ant walked to the"
SETUP = """%load_ext llmdist
%llm_load demo -q
%llm_plan --ram 8MiB --context 500 -q --seconds 0.5
import glob, json, os, time, psutil
from llmdist.events import GenerationFinished, LatestRecorder, TokenProduced
TOKENS = {tokens}
if TOKENS > {story}:
    object.__setattr__(llm.checkpoint.config, "eos_token_ids", ())
bench = psutil.Process(os.getppid()).ppid()  # this kernel's server was started by the benchmark

def parts():
    found = {{os.getpid(): "kernel", os.getppid(): "server"}}
    for one in psutil.Process(bench).children(recursive=True):
        try:
            words = one.cmdline()
            if "chrom" in one.name():
                kind = [w.split("=")[1] for w in words if w.startswith("--type=")]
                found.setdefault(one.pid, "chromium " + (kind[0] if kind else "browser"))
        except psutil.Error:
            pass
    if llm.engine_pid:
        found[llm.engine_pid] = "engine"
    return found

def clock(pids):
    spent = {{}}
    for pid, name in pids.items():
        for path in glob.glob(f"/proc/{{pid}}/task/*/schedstat"):
            try:
                spent[name] = spent.get(name, 0) + int(open(path).read().split()[0]) / 1e9
            except OSError:
                pass
    words = [int(w) for w in open("/proc/stat").readline().split()[1:9]]
    spent["whole machine"] = (sum(words) - words[3] - words[4]) / os.sysconf("SC_CLK_TCK")
    return spent

class Marked(LatestRecorder):
    def __call__(self, event):
        super().__call__(event)
        if isinstance(event, TokenProduced) and event.index == 0:
            self.pids, self.sent = parts(), [0, 0]
            self.first = clock(self.pids)
        elif isinstance(event, GenerationFinished):
            last = clock(self.pids)
            self.spent = {{name: last[name] - self.first.get(name, 0) for name in last}}
            self.total = list(self.sent)

llm.recorder = marks = Marked()
marks.sent = [0, 0]
speak = get_ipython().kernel.session.send
def counted(stream, message, *rest, **more):
    sent = speak(stream, message, *rest, **more)
    kind = message if isinstance(message, str) else message.get("msg_type")
    if kind in ("comm_open", "comm_msg", "display_data", "update_display_data", "stream"):
        marks.sent[0] += 1
        marks.sent[1] += len(json.dumps((sent or {{}}).get("content", {{}}), default=str))
    return sent
get_ipython().kernel.session.send = counted

def once(views):
    get_ipython().run_line_magic("config", f"LLMDist.views = {{views}}")
    line = f"--max-new-tokens {{TOKENS}} {prompt}"
    if views:
        get_ipython().run_line_magic("llm_generate", line)
    else:
        from IPython.utils.capture import capture_output
        with capture_output():
            get_ipython().run_line_magic("llm_generate", line)
    return {{"tokens": llm.stats.tokens, "speed": llm.stats.tokens_per_second, "seconds": llm.stats.decode_seconds,
            "spent": marks.spent, "messages": marks.total}}
once(False); once(True)
print("warm")"""
PAIR = """got = {{}}
for views in {order}:
    got[views] = once(views)
    time.sleep(0.7)  # the lasting copy is drawn meanwhile
print("ROWS{pair} " + json.dumps([got[False], got[True]]) + "END")"""
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
    lab.page.wait_for_timeout(300)  # the text may end by itself within a few seconds
    press = "() => { document.querySelector('.llmdist-live button').click(); return Date.now() / 1000; }"
    clicked = lab.page.evaluate(press)
    lab.wait_for_cell(index)
    lab.page.wait_for_timeout(500)
    silent, tokens = read(lab, index, "SILENT")
    return silent - clicked, tokens


def measured(tokens: int, pairs: int, stops: int) -> tuple[list, list]:
    """Return the pairs [without, with] and the stops."""
    orders = ["[True, False]" if pair % 2 else "[False, True]" for pair in range(pairs)]
    cells = [SETUP.format(tokens=tokens, story=STORY, prompt=PROMPT)]
    cells += [PAIR.format(order=order, pair=pair) for pair, order in enumerate(orders)] + [STOP] * stops
    with tempfile.TemporaryDirectory() as folder:
        write_notebook(Path(folder) / "cost.ipynb", cells)
        with open_lab(Path(folder), "cost.ipynb") as lab:
            lab.wait_for_kernel()
            lab.run_cell(0)
            lab.wait_for_text("warm", 180)
            rows = []
            for pair in range(pairs):
                lab.run_cell(1 + pair)
                lab.wait_for_text(f"ROWS{pair} ", 240)
                rows.append(read(lab, 1 + pair, f"ROWS{pair} "))
            return rows, [stop_seconds(lab, 1 + pairs + index) for index in range(stops)]


def per_second(runs: list[dict]) -> dict[str, float]:
    """Return each process's milliseconds of processor time per second of decoding, medians over `runs`."""
    names = dict.fromkeys(name for run in runs for name in run["spent"])
    return {
        name: round(statistics.median(1e3 * run["spent"].get(name, 0.0) / run["seconds"] for run in runs), 1)
        for name in names
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=STORY)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--no-stop", action="store_true")
    asked = parser.parse_args()
    load = os.getloadavg()
    rows, stops = measured(asked.tokens, asked.pairs, 0 if asked.no_stop else 3)
    without, shown = [row[0] for row in rows], [row[1] for row in rows]
    ratios = [b["speed"] / a["speed"] for a, b in rows]
    print(json.dumps({
        "tokens": [run["tokens"] for run in shown],
        "pairs": [[round(a["speed"], 1), round(b["speed"], 1), round(b["speed"] / a["speed"], 3)] for a, b in rows],
        "median_without": round(statistics.median(run["speed"] for run in without), 1),
        "median_with": round(statistics.median(run["speed"] for run in shown), 1),
        "median_ratio": round(statistics.median(ratios), 3), "worst_ratio": round(min(ratios), 3),
        "cpu_ms_per_second_without": per_second(without), "cpu_ms_per_second_with": per_second(shown),
        "messages_with": shown[-1]["messages"],
        "stop_seconds": [round(s, 4) for s, _ in stops], "stop_tokens": [t for _, t in stops],
        "load": [load, os.getloadavg()],
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
