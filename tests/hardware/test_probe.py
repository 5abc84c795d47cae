"""Probing: what is there, and the limits of a control group."""

import importlib
import subprocess
import sys

import pytest
import torch

from llmdist.hardware import probe_devices
from llmdist.kernels.compile import compiler
from llmdist.paths import child_environment

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


_DRIVER = """
#include <string.h>
typedef struct { unsigned long long total, free, used; } Memory;
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    *handle = handle;
    return strcmp(uuid, "GPU-ab-12") ? 6 : 0;
}
int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) { memory->free = 5ull << 30; return 0; }
const char *nvmlErrorString(int result) { return "not found"; }
"""
_PROBE = """
import sys, types, torch
from llmdist.hardware import probe_devices
card = types.SimpleNamespace(uuid=sys.argv[1], total_memory=8 << 30, name="Card", major=8)
torch.cuda.is_available, torch.cuda.device_count = (lambda: True), (lambda: 1)
torch.cuda.get_device_properties = lambda index: card
torch.cuda.mem_get_info = lambda index: (3 << 30, 8 << 30)
print(probe_devices()[1].free_bytes >> 30)
"""


@pytest.mark.skipif(sys.platform != "linux" or compiler() is None, reason="needs a C compiler and Linux' names")
def test_the_driver_tells_the_free_memory_of_a_gpu_without_a_context(tmp_path):
    """A stand-in for the driver's library answers for the card it knows; for another one CUDA is asked."""
    (tmp_path / "driver.cpp").write_text(f'extern "C" {{{_DRIVER}}}')
    built = ["-shared", "-fPIC", str(tmp_path / "driver.cpp"), "-o", str(tmp_path / "libnvidia-ml.so.1")]
    subprocess.run([compiler(), *built], check=True)
    environment = child_environment() | {"LD_LIBRARY_PATH": str(tmp_path)}
    for uuid, expected in (("ab-12", "5"), ("other", "3")):
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, uuid], env=environment, capture_output=True, text=True, check=True
        )  # fmt: skip
        assert done.stdout.strip() == expected


def test_without_a_driver_nothing_is_told():
    """No library, no answer, no error."""
    if not torch.cuda.is_available():
        assert probing._free_by_driver("ab-12") is None
