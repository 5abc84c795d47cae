"""A Jupyter server on loopback, driven in headless Chromium as a person would: what browser tests share."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

__all__ = ["CHROMIUM", "Lab", "chromium_page", "open_lab", "serious_findings", "serve", "write_notebook"]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyter-notebook/application-extension/shell": {},
}
_KERNEL_IDLE = """() => { const w = window.jupyterapp && window.jupyterapp.shell.currentWidget;
    const s = w && w.sessionContext;
    return s && s.isReady && s.session && s.session.kernel && s.session.kernel.status === 'idle'; }"""
#: Frontend messages that come from Jupyter itself or from the test's own server going away.
_NOT_OURS = (
    "favicon", "Failed to load resource", "plugin", "WebSocket", "lsp", "ResizeObserver loop", "debugger state",
)  # fmt: skip


class Lab:
    """One notebook open in one page."""

    def __init__(self, page: Any, folder: Path, address: str = "") -> None:
        self.page, self.folder, self.address = page, folder, address
        self.console_errors: list[str] = []
        page.on("console", lambda m: self._heard(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self._heard(f"{error}\n{error.stack or ''}"))

    def _heard(self, text: str) -> None:
        from_frontend = "/static/notebook/" in text and "blob:" not in text  # widgets of ours come as blobs
        if not from_frontend and not any(part in text for part in _NOT_OURS):
            self.console_errors.append(text)

    def command(self, name: str, **arguments: Any) -> None:
        """Run a command of the frontend without waiting for its end."""
        self.page.evaluate(
            "([name, args]) => { window.jupyterapp.commands.execute(name, args); }", [name, arguments]
        )

    def wait_for_kernel(self) -> None:
        """Wait until the notebook's kernel is idle."""
        self.page.wait_for_function(_KERNEL_IDLE, timeout=90_000)

    def run_cell(self, index: int) -> None:
        """Select a cell and run it, without waiting for its end."""
        self.page.evaluate(
            """index => { const n = window.jupyterapp.shell.currentWidget.content;
                n.activeCellIndex = index; n.deselectAll();
                window.jupyterapp.commands.execute('notebook:run-cell'); }""",
            index,
        )

    def wait_for_cell(self, index: int, seconds: float = 120) -> None:
        """Wait until a cell has run: its prompt is a number again."""
        self.page.wait_for_function(
            """index => { const c = window.jupyterapp.shell.currentWidget.content.widgets[index].model.sharedModel;
                return typeof c.execution_count === 'number' && c.executionState !== 'running'; }""",
            arg=index,
            timeout=seconds * 1000,
        )

    def cell(self, index: int) -> Any:
        """Return the outputs of a cell as a locator."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-OutputArea").first

    def wait_for_text(self, text: str, seconds: float = 60) -> None:
        """Wait until `text` stands in an output."""
        self.page.wait_for_function(
            "text => [...document.querySelectorAll('.jp-OutputArea-output')].some(o => o.innerText.includes(text))",
            arg=text,
            timeout=seconds * 1000,
        )

    def wait_for_front(self, text: str) -> None:
        """Wait until the Pareto front says `text`."""
        self.page.locator(".llf-said", has_text=text).wait_for()

    def show_view(self, drawn: int) -> None:
        """Wait until a live view was drawn `drawn` times, and keep it in sight meanwhile: out of sight it is not drawn.

        Pictures above it that load late push it away.
        """
        self.page.wait_for_selector(".llmdist-live", state="attached", timeout=60_000)
        state = (
            "() => [...document.querySelectorAll('.llmdist-live')].map(v => { v.scrollIntoView({ block: 'nearest' }); "
            "const at = v.getBoundingClientRect(); const canvases = [...v.querySelectorAll('canvas')]; "
            "return [v.dataset.drawn || '0', canvases.length, Math.round(at.top), Math.round(at.height)]; })"
        )
        end, found = time.monotonic() + 60, []
        while time.monotonic() < end:
            found = self.page.evaluate(state)
            if any(int(times) >= drawn and canvases and height > 100 for times, canvases, _, height in found):
                return
            self.page.wait_for_timeout(250)
        pytest.fail(f"no view was drawn {drawn} times; views (drawn, canvases, top, height): {found}")

    def theme(self, name: str) -> None:
        """Change the theme."""
        change = "window.jupyterapp.commands.execute('apputils:change-theme', { theme: t })"
        self.page.evaluate(f"async t => {{ await {change}; }}", name)
        wanted = f"body[data-jp-theme-light={'false' if 'Dark' in name else 'true'}]"
        self.page.wait_for_selector(wanted, state="attached")

    def save(self) -> None:
        """Save the notebook and wait until the file is written."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def picture(self, path: Path, index: int | None = None) -> None:
        """Take a screenshot of the page, or of one cell."""
        if index is None:
            self.page.screenshot(path=str(path))
        else:
            self.page.locator(".jp-Notebook .jp-Cell").nth(index).screenshot(path=str(path))


def serious_findings(page: Any, selector: str) -> list[str]:
    """Return what axe-core calls serious or critical inside `selector`."""
    module = pytest.importorskip("axe_playwright_python")
    page.evaluate((Path(module.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("async selector => (await axe.run(selector)).violations", selector)
    return [
        f"{one['id']}: {one['help']} ({one['nodes'][0]['html'][:120]})"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def write_notebook(path: Path, sources: list[str]) -> Path:
    """Write a notebook of code cells for the test's own kernel."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, server: subprocess.Popen[bytes], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.3)


@contextmanager
def chromium_page(height: int = 1000, **options: Any) -> Iterator[Any]:
    """Yield a fresh page of a headless Chromium, 1280 wide."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            yield browser.new_page(viewport={"width": 1280, "height": height}, **options)
        finally:
            browser.close()


@contextmanager
def serve(folder: Path, app: str = "lab", theme: str = "JupyterLab Light") -> Iterator[tuple[str, str]]:
    """Serve `folder` with JupyterLab (``lab``) or Notebook 7 (``notebook``); yields (address, token)."""
    port, token = _free_port(), secrets.token_hex(16)
    settings = folder / ".settings"
    wanted = {**_SETTINGS, "@jupyterlab/apputils-extension/themes": {"theme": theme}}
    for name, values in wanted.items():
        scope, plugin = name.rsplit("/", 1)
        (settings / scope).mkdir(parents=True, exist_ok=True)
        (settings / scope / f"{plugin}.jupyterlab-settings").write_text(json.dumps(values))
    root = Path(__file__).resolve().parents[2]  # the kernel imports this checkout, installed or not
    paths = [str(root), str(root / "magics"), str(root / "widgets"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(paths), "JUPYTER_CONFIG_DIR": str(folder / ".config"),
        "IPYTHONDIR": str(folder / ".ipython"), "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTER_DATA_DIR": str(folder / ".data"),
    }  # fmt: skip
    kind = "LabApp" if app == "lab" else "JupyterNotebookApp"
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab" if app == "lab" else "notebook", "--no-browser", "--allow-root",
         "--ip=127.0.0.1", f"--port={port}", f"--IdentityProvider.token={token}",
         f"--{kind}.expose_app_in_browser=True", f"--ServerApp.root_dir={folder}"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server)
        yield f"http://127.0.0.1:{port}", token
    finally:
        server.terminate()
        server.wait(timeout=20)


@contextmanager
def open_lab(
    folder: Path, notebook: str, app: str = "lab", theme: str = "JupyterLab Light", height: int = 1400
) -> Iterator[Lab]:
    """Serve `folder` and open `notebook` in Chromium (1280 wide), its side panel closed."""
    with serve(folder, app, theme) as (address, token), chromium_page(height) as page:
        lab = Lab(page, folder, address)
        place = f"lab/tree/{notebook}" if app == "lab" else f"notebooks/{notebook}"
        page.goto(f"{address}/{place}?token={token}" + ("&reset" if app == "lab" else ""))
        page.wait_for_function("() => window.jupyterapp && window.jupyterapp.shell.currentWidget", timeout=60_000)
        if app == "lab":
            lab.command("application:toggle-left-area")
        yield lab
