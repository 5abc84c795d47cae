"""What the live views share in the browser, run in node: legends wrap instead of being overprinted."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import llmdist_widgets

NODE = shutil.which("node")
STATIC = Path(llmdist_widgets.__file__).parent / "static"
ENTRIES = [[16, "best placement so far"], [114, "1 (scaled per block)"], [22, "waits for its weights"]]
pytestmark = pytest.mark.skipif(NODE is None, reason="needs node for the views' JavaScript; none on this machine")


def answered(folder: Path, expression: str) -> Any:
    """Return what an expression over the functions of draw.js is."""
    (folder / "draw.js").write_text(f"{(STATIC / 'draw.js').read_text()}console.log(JSON.stringify({expression}));")
    done = subprocess.run([NODE, "draw.js"], cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


@pytest.mark.parametrize("width", [320, 420, 520, 700, 960])
def test_entries_of_a_legend_neither_meet_nor_leave_the_picture(tmp_path: Path, width: int) -> None:
    """With letters 8 wide each entry ends before the next of its row begins; a narrow picture has more rows."""
    letters = "getContext: () => ({ measureText: (words) => ({ width: 8 * words.length }) })"
    found = answered(tmp_path, f"arranged({{ clientWidth: {width}, {letters} }}, {json.dumps(ENTRIES)})")
    rows: dict[int, float] = {}
    for place in found["places"]:
        assert place["x"] >= rows.get(place["y"], 12 if width < 500 else 136)
        rows[place["y"]] = place["x"] + place["wide"] + 6 + min(8 * len(place["words"]), place["room"])
    assert all(end <= width - 16 for end in rows.values())
    assert len(rows) == {320: 3, 420: 3, 520: 3, 700: 2, 960: 1}[width] and found["more"] == 18 * (len(rows) - 1)


def test_ticks_across_zero_have_a_zero(tmp_path: Path) -> None:
    """Not what is left where steps of 0.2 are added up from -0.6."""
    assert answered(tmp_path, "ticks(-0.63, 0.55, 6).map(number)") == ["-0.6", "-0.4", "-0.2", "0", "0.2", "0.4"]
