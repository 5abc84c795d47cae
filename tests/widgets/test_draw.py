"""What the live views share in the browser, run in node: legends wrap instead of being overprinted."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import llmdist_widgets

NODE = shutil.which("node")
STATIC = Path(llmdist_widgets.__file__).parent / "static"
ENTRIES = [[16, "best placement so far"], [114, "1 (scaled per block)"], [22, "waits for its weights"]]


@pytest.mark.skipif(NODE is None, reason="needs node for the views' JavaScript; none on this machine")
@pytest.mark.parametrize("width", [320, 420, 520, 700, 960])
def test_entries_of_a_legend_neither_meet_nor_leave_the_picture(tmp_path: Path, width: int) -> None:
    """With letters 8 wide each entry ends before the next of its row begins; a narrow picture has more rows."""
    letters = "getContext: () => ({ measureText: (words) => ({ width: 8 * words.length }) })"
    script = (STATIC / "draw.js").read_text() + (
        f"console.log(JSON.stringify(arranged({{ clientWidth: {width}, {letters} }}, {json.dumps(ENTRIES)})));"
    )
    (tmp_path / "draw.js").write_text(script)
    done = subprocess.run([NODE, "draw.js"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    rows: dict[int, float] = {}
    for place in found["places"]:
        assert place["x"] >= rows.get(place["y"], 12 if width < 500 else 136)
        rows[place["y"]] = place["x"] + place["wide"] + 6 + min(8 * len(place["words"]), place["room"])
    assert all(end <= width - 16 for end in rows.values())
    assert len(rows) == {320: 3, 420: 3, 520: 3, 700: 2, 960: 1}[width] and found["more"] == 18 * (len(rows) - 1)
