"""Makes demo.png: runs the demo and takes a screenshot of its report in headless Chromium."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from llmdist_widgets.demo import main


def picture() -> None:
    """Write demo.png beside this file."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        report = Path(folder) / "report.html"
        main(["--report", str(report)])
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(report.as_uri())
        page.screenshot(path=str(Path(__file__).parent / "demo.png"), full_page=True)
        browser.close()


if __name__ == "__main__":
    picture()
