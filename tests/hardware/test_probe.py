"""Probing: what is there, and the limits of a control group."""

import importlib

import pytest

from llmdist.hardware import probe_devices

probing = importlib.import_module("llmdist.hardware.probe")


@pytest.fixture
def no_real_groups(monkeypatch):
    """Let a test say which control-group limits hold."""
    return lambda limits: monkeypatch.setattr(probing, "_cgroup_limits", lambda: limits)


def test_the_machine_has_a_processor_and_a_disk():
    """Both are always there, with memory that is not all used."""
    devices = {device.name: device for device in probe_devices()}
    for name in ("cpu", "disk"):
        assert 0 < devices[name].free_bytes <= devices[name].memory_bytes


def test_a_folder_that_is_missing_stands_for_its_parent(tmp_path):
    """The model's folder may not exist before its download."""
    assert probing.existing_folder(tmp_path / "models" / "new") == tmp_path


def test_the_tighter_limit_counts(no_real_groups):
    """In a container the group's limit, less what is used, is what may be taken."""
    no_real_groups([(1000, 400), (2000, 100)])
    cpu = probe_devices()[0]
    assert (cpu.memory_bytes, cpu.free_bytes) == (1000, 600)


def test_a_full_group_leaves_nothing(no_real_groups):
    """Free memory is never negative."""
    no_real_groups([(1000, 1400)])
    assert probe_devices()[0].free_bytes == 0


def test_a_group_without_limit_says_nothing(tmp_path):
    """The word max is not a number of bytes."""
    (tmp_path / "memory.max").write_text("max\n")
    assert probing._read_integer(tmp_path / "memory.max") is None


def test_page_cache_of_a_group_counts_as_free(tmp_path):
    """Inactive file pages are given back on demand."""
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 700\n")
    assert probing._reclaimable(tmp_path) == 700
