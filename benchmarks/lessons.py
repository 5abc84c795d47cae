"""Run every tutorial as ``make tutorials`` does and print seconds, memory, errors and file size, as a Markdown table.

    python benchmarks/lessons.py FOLDER

The executed notebooks are written to FOLDER. Memory is the largest sum of the proportional bytes (resident where the
system has no such figure) of a notebook's kernel and its children, looked at ten times a second.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient

TUTORIALS = Path(__file__).parents[1] / "tutorials"


class Watch(threading.Thread):
    """Follows the processes that this one starts until `stop` is called; `peak` is in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self._ended = 0, threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.1):
            self.peak = max(self.peak, sum(map(_bytes, psutil.Process().children(recursive=True))))

    def stop(self) -> int:
        self._ended.set()
        self.join()
        return self.peak


def _bytes(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        found = process.memory_full_info()
        return int(getattr(found, "pss", 0) or found.rss)
    return 0


def _row(file: Path, folder: Path) -> str:
    notebook = nbformat.read(file, as_version=4)
    client = NotebookClient(notebook, timeout=600, coalesce_streams=True, resources={"metadata": {"path": TUTORIALS}})
    watch, began = Watch(), time.monotonic()
    watch.start()
    try:
        client.execute()
    finally:
        seconds, peak = time.monotonic() - began, watch.stop()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    errors = sum(output.output_type == "error" for output in outputs)
    warned = sum("Warning" in str(output.get("text", "")) for output in outputs if output.get("name") == "stderr")
    nbformat.write(notebook, folder / file.name)
    size = (folder / file.name).stat().st_size
    return f"| {file.stem} | {seconds:.1f} | {peak / 1e6:.0f} MB | {errors} | {warned} | {size / 1e3:.0f} KB |"


def main(folder: Path) -> None:
    """Run all and print a row for each as it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    print("| notebook | seconds | peak memory | errors | warnings | file |\n|---|---:|---:|---:|---:|---:|")
    for file in sorted(TUTORIALS.glob("*.ipynb")):
        print(_row(file, folder), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
