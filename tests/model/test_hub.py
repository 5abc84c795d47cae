"""Hub names against a real HTTP server that speaks the hub's protocol; each load is a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import TOKEN, StandInHub, stand_in_hub
from running import reference_tokens
from tiny import write_tiny

PROMPT = [5, 9, 2, 40]
LOAD = """
import sys, llmdist
from llmdist.events import WorkFinished
from llmdist.progress import finished_words, progress_words
heard = []
try:
    session = llmdist.load(sys.argv[1], revision=sys.argv[2] or None, isolate=False, progress=heard.append)
except llmdist.LlmdistError as error:
    sys.exit(f"refused: {error}")
session.plan(context=64, precision="fp32", seconds=0.2)
print([step.token_id for step in session.generate([5, 9, 2, 40], max_new_tokens=8)])
session.unload()
for event in heard:
    if event.work == "download":
        said = finished_words(event) if isinstance(event, WorkFinished) else progress_words(event)
        print(said, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with files beside the weights that a load does not need."""
    folder = write_tiny(tmp_path_factory.mktemp("hub") / "tiny", eos_token_id=700)
    (folder / "pytorch_model.bin").write_bytes(b"pickle" * 1000)
    (folder / "README.md").write_text("words")
    return folder


@pytest.fixture(scope="module")
def hub(checkpoint: Path) -> Iterator[StandInHub]:
    """The stand-in, running."""
    with stand_in_hub(checkpoint) as running:
        yield running


def environment_of(home: Path, url: str, token: str = "") -> dict[str, str]:
    """Return the environment of a process whose hub is `url` and whose cache is `home`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": url}
    environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    return environment | {"PYTHONPATH": os.pathsep.join(sys.path)} | ({"HF_TOKEN": token} if token else {})


def load(home: Path, url: str, name: str, revision: str = "", token: str = "") -> subprocess.CompletedProcess[str]:
    """Load `name` in a fresh process whose hub is `url` and whose cache is `home`."""
    command = [sys.executable, "-c", LOAD, name, revision]
    return subprocess.run(
        command, env=environment_of(home, url, token), capture_output=True, text=True, timeout=300
    )  # fmt: skip


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence that a refused load ends with."""
    assert done.returncode == 1
    *_, last = done.stderr.strip().splitlines()
    assert last.startswith("refused: ") and "Traceback" not in done.stderr, done.stderr
    print(last)
    return last


def test_a_hub_name_downloads_what_it_needs_and_then_works_offline(
    hub: StandInHub, checkpoint: Path, tmp_path: Path
) -> None:
    """The tokens are those of the folder; a second load needs no server; pickles are not fetched."""
    expected = str(reference_tokens(checkpoint, PROMPT, 8))
    hub.requests.clear()
    first = load(tmp_path, hub.url, "acme/tiny")
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip() == expected
    *on_the_way, done = [line for line in first.stderr.splitlines() if "oad" in line[:9]]
    assert all(line.startswith("downloading acme/tiny: ") and "%" in line for line in on_the_way) and on_the_way
    totals = {line.split(" of ")[1].split(" (")[0] for line in on_the_way}
    assert len(totals) == 1, on_the_way  # known before the first byte
    size = (checkpoint / "model.safetensors").stat().st_size
    assert done.startswith("Downloaded ") and " of acme/tiny in " in done and "B/s" in done
    assert float(done.split()[1]) * {"kB": 1e3, "MB": 1e6}[done.split()[2]] > 0.99 * size
    fetched = {path.rsplit("/", 1)[-1] for method, path in hub.requests if method == "GET"}
    assert "model.safetensors" in fetched and not {"pytorch_model.bin", "README.md"} & fetched
    again = load(tmp_path, "http://127.0.0.1:9", "acme/tiny")
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip() == expected and "Downloaded" not in again.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a process is interrupted by a signal")
def test_an_interrupt_ends_a_download_at_once_and_the_next_load_goes_on(
    hub: StandInHub, checkpoint: Path, tmp_path: Path
) -> None:
    """The sentence comes while half of the weights are still on their way."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOAD, "acme/slow", ""], env=environment_of(tmp_path, hub.url), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert hub.half_sent.wait(120) and process.stderr is not None
        process.send_signal(signal.SIGINT)
        said = next(line for line in process.stderr if "refused: " in line or "Error" in line)
        assert "was stopped after" in said and "the next load takes the others" in said
        assert not hub.release.is_set()
    finally:
        hub.release.set()
        process.communicate(timeout=120)
    assert process.returncode == 1
    again = load(tmp_path, hub.url, "acme/slow")
    assert again.returncode == 0 and again.stdout.strip() == str(reference_tokens(checkpoint, PROMPT, 8)), again.stderr


def test_a_gated_model_opens_with_a_token_only(hub: StandInHub, tmp_path: Path) -> None:
    """The token of the environment is sent; without it the sentence says what to do."""
    assert "HF_TOKEN" in refusal(load(tmp_path / "a", hub.url, "acme/gated"))
    assert load(tmp_path / "b", hub.url, "acme/gated", token=TOKEN).returncode == 0


@pytest.mark.parametrize(
    ("name", "revision", "words"),
    [
        ("acme/nothing", "", "no model 'acme/nothing'"),
        ("acme/tiny", "v9", "no revision 'v9'"),
        ("acme/broken", "", "status 503"),
        ("not a name", "", "neither a folder nor a hub name"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(
    hub: StandInHub, tmp_path: Path, name: str, revision: str, words: str
) -> None:
    """Unknown names, revisions and a hub in trouble are named."""
    assert words in refusal(load(tmp_path, hub.url, name, revision))


def test_no_hub_at_all_is_one_sentence(tmp_path: Path) -> None:
    """Nothing listens: the sentence offers a folder."""
    assert "cannot be reached" in refusal(load(tmp_path, "http://127.0.0.1:9", "acme/tiny"))
