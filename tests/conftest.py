"""Shared fixtures: the tests never touch the user's own cache folder."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from llmdist.paths import cache_folder as cache_folder_of_user

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Point the cache of measured profiles at a temporary folder."""
    folder = tmp_path_factory.mktemp("cache")
    if "LLMDIST_PICTURES" in os.environ:  # pictures show the machine as it was measured while idle
        for profile in cache_folder_of_user().glob("hardware-*.json"):
            shutil.copy(profile, folder)
    os.environ["LLMDIST_CACHE"] = str(folder)
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep packed blocks in a folder of the test's own, and return it."""
    monkeypatch.setattr("llmdist.model.quantize.cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "packed"
