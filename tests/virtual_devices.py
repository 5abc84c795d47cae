"""A runtime whose GPUs are the CPU: real bytes and the real kernels' host build."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent / "kernels"))

from shim import COMPILER, HostModule, build

from llmdist.kernels.instances import Instance
from llmdist.model.reader import aligned_buffer


class LazyModule(HostModule):
    """Builds an instance at its first launch: a model needs few of those that a device compiles together."""

    def run(self, launch) -> None:
        if not self.has(launch.instance):
            with tempfile.TemporaryDirectory() as folder:
                self.add(build([launch.instance], Path(folder)))
        super().run(launch)


class VirtualRuntime:
    """Every device is the CPU."""

    def __init__(self) -> None:
        self.modules: dict[str, LazyModule] = {}

    def require(self, device: str) -> None:
        pass

    def place(self, device: str) -> torch.device:
        return torch.device("cpu")

    def module(self, instances: Sequence[Instance], device: str) -> LazyModule:
        self.compiled = set(instances)
        return self.modules.setdefault(device, LazyModule({}))

    def multiprocessors(self, device: str) -> int:
        return 4

    def pinned(self, nbytes: int) -> Tensor:
        return aligned_buffer(nbytes)


COMPILED = pytest.mark.skipif(COMPILER is None, reason="no g++ found: the kernels' host build needs one")
