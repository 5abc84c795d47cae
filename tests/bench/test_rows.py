"""The frame of the benchmarks: rows, table, JSON and the command."""

from __future__ import annotations

import json
from pathlib import Path

from llmdist.bench import Row, ratio, table, write_json
from llmdist.bench.__main__ import main


def test_rows_survive_as_json_and_read_as_a_table(tmp_path: Path) -> None:
    """The figures in the file and in the table are those of the row."""
    row = Row("decode", "llmdist", "tokens per second", 12.5, "tokens/s", ratio(12.5, 25.0), 1.0, {"threads": 2})
    write_json(tmp_path / "rows.json", {"read": 3e10}, [row])
    data = json.loads((tmp_path / "rows.json").read_text())
    assert data["rows"][0]["ratio_to_limit"] == 0.5 and data["limits"] == {"read": 3e10}
    assert data["conditions"]["cpu"]
    assert "| 12.5 tokens/s | 0.50 | 1.00x |" in table([row])


def test_an_unknown_benchmark_is_named(capsys) -> None:  # type: ignore[no-untyped-def]
    """The sentence says what was asked."""
    assert main(["nonsense"]) == 2
    assert "'nonsense' was asked" in capsys.readouterr().err
