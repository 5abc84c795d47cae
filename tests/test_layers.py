"""The core knows no notebook, and no layer imports one above it."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTEBOOK_PACKAGES = ("IPython", "ipywidgets", "anywidget", "plotly")


def test_importing_the_core_loads_no_notebook_package():
    """A server or a child process can import llmdist without paying for pictures."""
    code = f"import sys, llmdist; print([name for name in {NOTEBOOK_PACKAGES} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[]"


def test_import_contracts_hold():
    """magics -> widgets -> core, never back."""
    beside = Path(sys.executable).with_name("lint-imports")
    command = str(beside) if beside.exists() else shutil.which("lint-imports")
    assert command, "import-linter is missing: make setup installs it"
    ran = subprocess.run([command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
