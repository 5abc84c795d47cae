"""The CPU benchmark for real on a model of a few megabytes: its rows, its turns, and what a peer is said to read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmdist.bench import cpu
from llmdist.bench.__main__ import main
from llmdist.bench.cpu_engines import decoded_bytes
from llmdist.bench.gguf_files import write_gguf
from llmdist.bench.synthetic import SHAPES, SyntheticShape, write_synthetic
from llmdist.model.checkpoint import Checkpoint

TINY = SyntheticShape(256, 704, 2, 8, 2, 512)


class Recorder:
    """An engine that writes down when it is asked."""

    read_bytes = 0

    def __init__(self, name: str, asked: list[str]) -> None:
        self.name, self._asked = name, asked

    def prefill(self, tokens: list[int]) -> float:
        """Note a prompt."""
        self._asked.append(f"{self.name} {len(tokens)}")
        return 1.0

    def step(self) -> float:
        """Note a step."""
        self._asked.append(self.name)
        return 1.0

    def close(self) -> None:
        """Nothing is held."""


def test_every_precision_is_rated_by_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row of decode and one of prefill per precision, with their share of the read rate of the same run."""
    monkeypatch.setitem(SHAPES, "tiny", TINY)
    monkeypatch.setattr(cpu, "_READ_BYTES", 8 << 20)
    target = tmp_path / "cpu.json"
    command = ["cpu", "--json", str(target), "--shape", "tiny", "--quick", "--peers", "", "--work", str(tmp_path)]
    assert main(command) == 0
    data = json.loads(target.read_text())
    assert {row["engine"] for row in data["rows"]} == {f"llmdist {p}" for p in ("bf16", "fp16", "int8", "int4")}
    assert len(data["rows"]) == 8 and all(row["value"] > 0 for row in data["rows"])
    limit = next(value for name, value in data["limits"].items() if name.endswith("threads"))
    decode = [row for row in data["rows"] if row["metric"] == "decode"]
    if limit:
        assert all(row["ratio_to_limit"] > 0 for row in decode)
    assert "llmdist int4" in capsys.readouterr().out


def test_engines_take_turns_token_by_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine gives changes within seconds, so no engine has ten tokens in a row; each warms up alike."""
    asked: list[str] = []
    monkeypatch.setattr(cpu, "read_bandwidth", lambda data, threads, streams: asked.append("read") or 1e9)
    monkeypatch.setattr(cpu, "_READ_BYTES", 4096)
    monkeypatch.setattr(cpu, "_STREAMS", (1, 4))
    monkeypatch.setattr(cpu.torch, "get_num_threads", lambda: 1)
    medians, reads = cpu._rounds([Recorder("a", asked), Recorder("b", asked)], rounds=1, steps=2, prompt=16)
    assert asked == ["a 8", "a", "b 8", "b", "a 16", "b 16", *(2 * ["read", "read", *"aabb"])]
    assert medians["b"] == {"step": 1.0, "prefill": 1.0} and reads == {(1, 1): [1e9, 1e9], (1, 4): [1e9, 1e9]}


def test_the_limit_is_a_median_as_the_engines_figures_are() -> None:
    """Of the number of streams that reads fastest as a rule: one lucky read in a hundred is no limit."""
    limits = cpu._limits({(1, 1): [3.0, 4.0, 3.5], (1, 4): [2.0, 9.0, 3.0], (2, 1): [5.0, 5.0, 6.0]})
    assert limits["read_1_threads"] == 3.5 and limits["read_2_threads"] == 5.0
    assert (limits["read_1_threads_min"], limits["read_1_threads_max"]) == (3.0, 4.0)


def test_a_peer_reads_no_embedding_of_its_own(tmp_path: Path) -> None:
    """The table of words is in the file, and a step takes one row of it."""
    pytest.importorskip("gguf")
    write_synthetic(tmp_path / "tiny", TINY)
    write_gguf(Checkpoint.open(tmp_path / "tiny"), tmp_path / "tiny.gguf", "BF16")
    file, table = (tmp_path / "tiny.gguf").stat().st_size, 2 * TINY.vocabulary * TINY.hidden
    assert 0 < file - table - decoded_bytes(tmp_path / "tiny.gguf") < 64 << 10
