"""Measuring, caching and describing the machine, with sizes that take milliseconds."""

import functools
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from llmdist.errors import HardwareError
from llmdist.hardware import apart, cached, describe, hardware_profile
from llmdist.hardware.profile import Device, HardwareProfile

measuring = importlib.import_module("llmdist.hardware.measure")
quick_measure = functools.partial(measuring.measure, seconds=0.05, matrix_bytes=1 << 18, file_bytes=1 << 18)


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Make every measurement tiny and keep its cache in a temporary folder; count the measurements."""
    calls = []

    def counted(folder=None, progress=None):
        calls.append(folder)
        return quick_measure(folder, progress)

    monkeypatch.setenv("LLMDIST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cached, "measure_apart", counted)
    monkeypatch.setattr(cached, "busy_share", lambda: 0.0)
    return calls


def test_every_executing_device_has_rates_and_every_link_a_bandwidth(tmp_path):
    """The planner refuses devices and links without rates, so none may be missing."""
    profile = quick_measure(tmp_path)
    assert {"cpu", "disk"} <= {device.name for device in profile.devices}
    for device in profile.devices:
        assert 0 < device.free_bytes <= device.memory_bytes
        if device.executes:
            assert min(device.bandwidth, device.flops, device.overhead_seconds) > 0
    assert ("disk", "cpu") in {(link.source, link.target) for link in profile.links}
    assert all(link.bandwidth > 0 and link.latency_seconds >= 0 for link in profile.links)


def test_no_file_stays_behind(tmp_path):
    """The file that is read to time the disk is removed."""
    quick_measure(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_file_stays_behind_when_interrupted(tmp_path, monkeypatch):
    """An interrupt in the middle of the disk reads leaves no temporary file."""

    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "_drop_from_page_cache", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quick_measure(tmp_path)
    assert list(tmp_path.iterdir()) == []


def high_water():
    """Return the most memory that this process has held, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads memory through Linux interfaces")
def test_the_caller_holds_nothing_of_what_is_measured(tmp_path):
    """Four matrices of 64 MiB and a slot are the child's alone; it says its progress and leaves no file."""
    seen = []
    before = high_water()
    profile = apart.measure_apart(tmp_path, lambda what, fraction: seen.append((what, fraction)))
    assert high_water() - before < 30 << 20
    assert profile.device("cpu").bandwidth > 0 and profile.device("disk").bandwidth > 0
    assert [fraction for _, fraction in seen] == sorted(fraction for _, fraction in seen) and seen[-1][1] == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_the_child_and_its_file(tmp_path):
    """Stopped while the disk is read, neither a process nor a file is left."""
    written = []

    def stop(what, fraction):
        if what.startswith("disk"):
            while not written:
                written.extend(tmp_path.iterdir())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apart.measure_apart(tmp_path, stop)
    pid = int(written[0].name.split("-")[2])
    assert not psutil.pid_exists(pid)
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_dies_is_said_in_one_sentence(tmp_path, monkeypatch):
    """The exit code is in the sentence, and what to do."""
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))  # a Python that cannot start
    with pytest.raises(HardwareError, match=r"exit code 1 .*load again"):
        apart.measure_apart(tmp_path)


def test_progress_rises_from_zero_to_one(tmp_path):
    """A progress bar can be drawn from the calls."""
    seen = []
    quick_measure(tmp_path, lambda what, fraction: seen.append(fraction))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 1)


def test_second_call_uses_the_cache(quick, tmp_path):
    """A machine is measured once; the rates of the second call are those of the first."""
    first, second = hardware_profile(tmp_path), hardware_profile(tmp_path)
    assert len(quick) == 1
    assert [d.bandwidth for d in first.devices] == [d.bandwidth for d in second.devices]


def test_refresh_measures_anew(quick, tmp_path):
    """The user can ask for a new measurement."""
    hardware_profile(tmp_path)
    hardware_profile(tmp_path, refresh=True)
    assert len(quick) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"key": {}}', '{"profile": {}}'])
def test_a_corrupt_cache_is_measured_anew(quick, tmp_path, text):
    """A cache that cannot be read is replaced, never an error."""
    hardware_profile(tmp_path)
    (stored,) = (tmp_path / "cache").iterdir()
    stored.write_text(text)
    hardware_profile(tmp_path)
    assert len(quick) == 2
    assert json.loads(stored.read_text())["profile"]["devices"]


def test_another_thread_count_is_measured_anew(quick, tmp_path):
    """The rates depend on the threads, so the cache of another thread count is not used."""
    hardware_profile(tmp_path)
    (stored,) = (tmp_path / "cache").iterdir()
    content = json.loads(stored.read_text())
    content["key"]["threads"] += 1
    stored.write_text(json.dumps(content))
    hardware_profile(tmp_path)
    assert len(quick) == 2


def test_a_profile_survives_json(tmp_path):
    """What is saved is what is loaded."""
    profile = quick_measure(tmp_path)
    assert HardwareProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile


def test_describe_has_one_line_per_device_and_link(tmp_path):
    """The table names every device and link, with units."""
    profile = quick_measure(tmp_path)
    lines = describe(profile).splitlines()
    assert len(lines) == 3 + len(profile.devices) + len(profile.links)
    assert any("disk > cpu" in line and "B/s" in line for line in lines)


def test_figures_of_a_busy_machine_are_not_kept(quick, tmp_path, monkeypatch):
    """Rates measured beside other work would make every later prediction wrong."""
    monkeypatch.setattr(cached, "busy_share", lambda: 0.8)
    assert "80%" in describe(hardware_profile(tmp_path))
    hardware_profile(tmp_path)
    assert len(quick) == 2
    monkeypatch.setattr(cached, "busy_share", lambda: 0.1)
    hardware_profile(tmp_path)
    assert hardware_profile(tmp_path).note == ""
    assert len(quick) == 3


def test_a_busy_processor_is_seen():
    """A process that spins on every core is noticed, whatever else runs."""
    spin = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        assert cached.busy_share(0.5) > 0.5
    finally:
        for process in spin:
            process.kill()
            process.wait()


def test_a_gpu_that_cannot_be_used_is_left_out_and_asked_again_the_next_time(tmp_path, monkeypatch, quick):
    """Torch may have no code for a card, or the card be full: the machine is measured without it, and told so."""
    card = Device("cuda:0", "cuda", 1 << 30, 1 << 29, 0, 0, 0, label="GTX 1080")
    probed = measuring.probe_devices(tmp_path)
    monkeypatch.setattr(measuring, "probe_devices", lambda place: [*probed, card])
    timed = measuring._timed_device

    def fails(device, *rest):
        if device.kind == "cuda":
            raise RuntimeError("CUDA error: no kernel image is available\nCompile with TORCH_USE_CUDA_DSA")
        return timed(device, *rest)

    monkeypatch.setattr(measuring, "_timed_device", fails)
    for count in (1, 2):
        with pytest.warns(UserWarning, match=r"cuda:0 \(GTX 1080\) is left out: .*no kernel image is available$"):
            profile = hardware_profile(tmp_path)
        assert "cuda:0" not in {device.name for device in profile.devices} and "GTX 1080" in profile.note
        assert len(quick) == count
