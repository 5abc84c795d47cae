"""The benchmarks of streaming, prediction and memory run for real on models of a few megabytes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from llmdist.bench import prediction, stream
from llmdist.bench.__main__ import main
from llmdist.bench.synthetic import SHAPES, SyntheticShape, write_synthetic
from llmdist.model.checkpoint import Checkpoint
from llmdist.model.tokenizer import Tokenizer

TINY = SyntheticShape(512, 1408, 10, 8, 2, 512)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a shape of a few megabytes."""
    monkeypatch.setitem(SHAPES, "tiny", TINY)
    monkeypatch.setattr(stream, "_REST_SECONDS", 0.0)


@pytest.mark.skipif(sys.platform != "linux", reason="peers and llmdist share a limit through Linux control groups")
def test_streaming_is_rated_by_the_disk_and_a_missing_peer_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More than the cap is read for every token, the share of the disk's rate is there, the peer is named."""
    file = tmp_path / "rows.json"
    arguments = ["--shape", "tiny", "--ram", "42MB", "--rounds", "1", "--tokens", "3", "--peers", "nosuchengine"]
    assert main(["stream", *arguments, "--json", str(file), "--work", str(tmp_path)]) == 0
    data = json.loads(file.read_text())
    row, together = data["rows"]
    assert row["engine"] == "llmdist" and row["ratio_to_limit"] > 0
    assert together["engine"] == stream.TOGETHER
    assert together["conditions"]["moved_bytes_per_token"] < row["conditions"]["moved_bytes_per_token"]
    assert row["conditions"]["moved_bytes_per_token"] > 0
    assert row["conditions"]["weight_bytes"] > row["conditions"]["ram"]
    assert "skipped: nosuchengine is not installed" in capsys.readouterr().out


def test_an_engine_that_fails_is_one_sentence(tmp_path: Path) -> None:
    """The last line of what the engine said stands in the sentence, with the limit."""
    with pytest.raises(stream.HardwareError, match=r"llmdist did not run under 1 GiB: .*no config\.json"):
        stream._run("llmdist", tmp_path, 1 << 20, 1 << 30, 1)


def test_placements_go_from_resident_to_streamed(tmp_path: Path) -> None:
    """The first streams nothing, the last all but the embedding, and the streamed blocks are spread."""
    blocks = ["embed", *(f"layers.{i}.{kind}" for i in range(6) for kind in ("attention", "mlp")), "head"]
    found = prediction.placements(blocks, "bf16")
    assert [placement.count("streamed") for placement in found] == sorted(p.count("streamed") for p in found)
    assert (found[0].count("streamed"), found[-1].count("streamed")) == (0, len(blocks) - 1)

    half = [choice.home_device for choice in found[5].assignments]
    assert "disk disk disk" not in " ".join(half)


def test_predictions_are_compared_with_what_the_engine_does(tmp_path: Path) -> None:
    """Every placement of the bundled model is measured and has its error."""
    file = tmp_path / "rows.json"
    assert main(["prediction", "--shape", "none", "--rounds", "1", "--json", str(file)]) == 0
    data = json.loads(file.read_text())
    labels = [row["scenario"] for row in data["rows"]]
    counts = [sum(kind in label for label in labels) for kind in ("spread", "under a cap", "as calibrated")]
    assert counts == [12, 3, 1]
    for row in data["rows"]:
        facts = row["conditions"]
        assert facts["error"] == pytest.approx(abs(facts["predicted"] / row["value"] - 1))
    for when in ("before", "after one run"):
        worst, median = (data["limits"][f"demo, spread: {what} error {when}"] for what in ("worst", "median"))
        assert worst >= median


def test_a_model_of_random_weights_is_opened_as_a_session_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that is measured beside the bundled one has a tokenizer, without which no session opens it."""
    opened: list[int] = []

    def rows(name: str, model: Path, run: object, why: bool) -> list[object]:
        opened.append(len(Tokenizer.open(model).vocabulary()))
        return []

    monkeypatch.setattr(prediction, "_rows", rows)
    command = ["prediction", "--shape", "tiny", "--only-shape", "--json", str(tmp_path / "rows.json")]
    assert main(command) == 0
    assert len(opened) == 1 and opened[0] > 500


def test_a_tiny_checkpoint_has_the_shape_that_was_asked(tmp_path: Path) -> None:
    """What the benchmarks write is what they say."""
    write_synthetic(tmp_path / "m", TINY)
    profile = Checkpoint.open(tmp_path / "m").profile
    assert len(profile.blocks) == 2 * TINY.layers + 2
