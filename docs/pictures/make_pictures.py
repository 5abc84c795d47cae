"""Makes the pictures of the documents: the demo's report, a machine and, in notebook/, what the browser tests see.

    python docs/pictures/make_pictures.py [demo] [machine] [notebook]

Needs Chromium. With Pillow installed the pictures are reduced to 64 colours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from llmdist.hardware.catalog import machine
from llmdist_widgets import machine_svg
from llmdist_widgets.demo import main

HERE = Path(__file__).parent
TESTS = ("tests/browser/test_notebook.py", "tests/browser/test_notebook_hosts.py")


def demo() -> None:
    """Write demo.png: run the demo and take a screenshot of its report."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        report = Path(folder) / "report.html"
        main(["--report", str(report)])
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(report.as_uri())
        page.screenshot(path=str(HERE / "demo.png"), full_page=True)
        browser.close()
    smaller(HERE / "demo.png")


def two_gpus() -> None:
    """Write machine_dual.png: a known machine with two GPUs, partly filled, as %llm_status draws it."""
    hardware = machine("dual")
    filled = {device.name: device.memory_bytes // 9 for device in hardware.devices}
    caps = {device.name: device.memory_bytes // 2 for device in hardware.devices}
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 980, "height": 700})
        page.set_content(machine_svg(hardware, filled, caps))
        page.locator("svg").screenshot(path=str(HERE / "machine_dual.png"))
        browser.close()


def notebook() -> None:
    """Write notebook/*.png: the browser tests drive real notebooks and take a screenshot at each station."""
    folder = HERE / "notebook"
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "LLMDIST_PICTURES": str(folder)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    subprocess.run(command, cwd=HERE.parents[1], env=environment, check=True)
    for path in folder.glob("*.png"):
        smaller(path)


def smaller(path: Path) -> None:
    """Reduce a picture to 64 colours where Pillow is installed."""
    try:
        from PIL import Image
    except ImportError:
        return
    with Image.open(path) as picture:
        reduced = picture.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)


if __name__ == "__main__":
    for name in sys.argv[1:] or ("demo", "machine", "notebook"):
        {"demo": demo, "machine": two_gpus, "notebook": notebook}[name]()
