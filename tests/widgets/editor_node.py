"""Runs the editor's JavaScript in node: the modules as they are, data in and out as JSON."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import llmdist_widgets

__all__ = ["NODE", "run_script"]

NODE = shutil.which("node")
STATIC = Path(llmdist_widgets.__file__).parent / "static"


def run_script(folder: Path, script: str, data: Any) -> Any:
    """Return what `script` passes to `answer`; it sees `data` and the modules `cost` and `editing`."""
    for file in STATIC.glob("editor*.js"):
        shutil.copy(file, folder / file.name)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "data.json").write_text(json.dumps(data))
    (folder / "run.js").write_text(
        "import * as cost from './editor_cost.js';\nimport * as editing from './editor_state.js';\n"
        "import { readFileSync, writeFileSync } from 'fs';\nimport assert from 'assert/strict';\n"
        "const data = JSON.parse(readFileSync('data.json'));\n"
        "const answer = (value) => writeFileSync('answer.json', JSON.stringify(value));\n" + script
    )
    done = subprocess.run([NODE, "run.js"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = folder / "answer.json"
    return json.loads(found.read_text()) if found.exists() else None
