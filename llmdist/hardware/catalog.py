"""Known machines, for planning on hardware that one does not own.

Every profile is `nominal`: no device stood behind a number. Rates are what well-made programs reach, not the
peak of a data sheet; each part names where its figures come from. What this is not: a measurement, which
`hardware_profile` takes on the machine at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import HardwareError
from .profile import Device, HardwareProfile, Link

__all__ = ["machine", "machines"]

DATE = "2026-11-25"
GIB, MIB = 2**30, 2**20
CONTEXT_BYTES = 600 * MIB  # CUDA context, libraries and a desktop: what an idle consumer card has not free
SYSTEM_BYTES = 3 * GIB  # operating system, browser and notebook server on an idle computer
#: Seconds of one block beside its reads: recorded launches of our kernels, 6.6 us on an H200. (Launched one by one from
#: Python it would be 70 us: HF FP16 of a 7B on an RTX 4090 loses 4.7 ms over 66 blocks.)
GPU_OVERHEAD = 7e-6
CPU_OVERHEAD = 40e-6  # one block of operators at one token, torch on a desktop processor (measured: 25 to 60 us)
COPY_LATENCY = 15e-6  # one asynchronous copy and its event
DISK_LATENCY = 1e-4  # first byte of an NVMe read through the file system


@dataclass(frozen=True, slots=True)
class _Gpu:
    """`memory` bytes, `bandwidth` bytes/s of reads, `flops` of a bf16 matmul, `pcie` bytes/s, pinned."""

    label: str
    memory: int
    bandwidth: float
    flops: float
    pcie: float
    source: str
    has_bf16: bool = True


@dataclass(frozen=True, slots=True)
class _Host:
    """`memory` bytes, `bandwidth` bytes/s that a GEMV reads, `bus` bytes/s that all readers of the memory share,
    `flops`, `disk` bytes/s of sequential reads."""

    label: str
    memory: int
    bandwidth: float
    bus: float
    flops: float
    disk: float
    source: str


RTX4090 = _Gpu(
    "RTX 4090, 24 GB GDDR6X, PCIe 4.0 x16", 24564 * MIB, 930e9, 140e12, 23.9e9,
    "GPU: data sheet 1008 GB/s and 165 TFLOP/s (bf16, fp32 accumulation); 930 GB/s is what copies reach, "
    "85 % of the matmul peak; PCIe 4.0 x16 pinned measured 23.9 GB/s",
)  # fmt: skip
RTX3090 = _Gpu(
    "RTX 3090, 24 GB GDDR6X, PCIe 4.0 x8", 24576 * MIB, 860e9, 60e12, 12e9,
    "GPU 0: data sheet 936 GB/s and 71 TFLOP/s (bf16, fp32 accumulation), 92 % and 85 % of them; two cards share "
    "the processor's 16 lanes, so x8 each, half of the measured 23.9 GB/s",
)  # fmt: skip
RTX3060 = _Gpu(
    "RTX 3060, 12 GB GDDR6, PCIe 4.0 x16", 12288 * MIB, 331e9, 22e12, 23.9e9,
    "GPU: data sheet 360 GB/s and 25.6 TFLOP/s (bf16, fp32 accumulation), 92 % and 85 % of them; "
    "PCIe 4.0 x16 pinned 23.9 GB/s",
)  # fmt: skip
RTX3060_X8 = _Gpu(
    "RTX 3060, 12 GB GDDR6, PCIe 4.0 x8", 12288 * MIB, 331e9, 22e12, 12e9,
    "GPU 1: as the RTX 3060 alone, on 8 lanes",
)  # fmt: skip
LAPTOP4060 = _Gpu(
    "RTX 4060 Laptop, 8 GB GDDR6, PCIe 4.0 x8", 8188 * MIB, 235e9, 24e12, 11.5e9,
    "GPU: data sheet 256 GB/s, 92 % of it; 96 tensor cores at 2.0 GHz sustained make 24 TFLOP/s; the chip has "
    "8 lanes, half of the measured 23.9 GB/s, less what power saving takes",
)  # fmt: skip
T4 = _Gpu(
    "Tesla T4, 15 GB GDDR6 with ECC, PCIe 3.0 x16", 15095 * MIB, 240e9, 25e12, 12e9,
    "GPU: data sheet 320 GB/s, 220 to 250 GB/s measured (Jia et al. 2019, arXiv 1903.07486); matmul throttles "
    "at 70 W to about 25 of 65 TFLOP/s, in fp16 (no bf16 units); PCIe 3.0 x16 pinned about 12 GB/s",
    has_bf16=False,
)  # fmt: skip
H200 = _Gpu(
    "H200, 141 GB HBM3e, PCIe 5.0 x16", 143771 * MIB, 4.1e12, 650e12, 53e9,
    "GPU: data sheet 4.8 TB/s and 989 TFLOP/s; 85 % and 65 % of them are what copies and large matmuls reach; "
    "PCIe 5.0 x16 pinned about 53 GB/s",
)  # fmt: skip

DESKTOP = _Host(
    "8 cores, 64 GB DDR5-5600, NVMe 4.0", 64 * GIB, 60e9, 70e9, 1.0e12, 5e9,
    "Host: two channels of DDR5-5600 are 90 GB/s on paper, 70 reached by reads and 60 by a GEMV; AVX-512 bf16 "
    "matmul about 1 TFLOP/s; a PCIe 4.0 NVMe reads 7 GB/s on paper, 5 by large direct reads",
)  # fmt: skip
OLDER = _Host(
    "6 cores, 32 GB DDR4-3200, NVMe 3.0", 32 * GIB, 36e9, 41e9, 0.4e12, 2.5e9,
    "Host: two channels of DDR4-3200 are 51 GB/s on paper, 80 % of it by reads and 70 % by a GEMV; "
    "AVX2 matmul about 0.4 TFLOP/s; a PCIe 3.0 NVMe reads 3.5 GB/s on paper, 2.5 by large reads",
)  # fmt: skip
LAPTOP = _Host(
    "8 cores, 16 GB DDR5-4800, NVMe 4.0", 16 * GIB, 48e9, 58e9, 0.5e12, 3e9,
    "Host: two channels of DDR5-4800 are 77 GB/s on paper, about 75 % of it by reads and 62 % by a GEMV; "
    "matmul 0.5 TFLOP/s under a laptop's power limit; NVMe 3 GB/s by large reads",
)  # fmt: skip
COLAB = _Host(
    "Colab, 2 virtual cores, 12.7 GB, network disk", int(12.67 * GIB), 12e9, 14e9, 0.08e12, 0.18e9,
    "Host: two threads of a 2.2 GHz Xeon read about 14 GB/s, 12 by a GEMV; "
    "the boot disk is a network volume of about 180 MB/s",
)  # fmt: skip
SERVER = _Host(
    "16 of a server's cores, 256 GB DDR5, NVMe 5.0", 256 * GIB, 150e9, 200e9, 3e12, 6e9,
    "Host: 16 cores of a socket with eight channels of DDR5-4800 (307 GB/s on paper) read about two thirds of it, "
    "half by a GEMV",
)  # fmt: skip

GIGABIT = (117e6, 0.5e-3)  # 1 Gbit/s less TCP and Ethernet headers; a hop of 0.4 ms of wake-ups and 0.1 ms of wire
TEN_GIGABIT = (1.1e9, 0.45e-3)  # 10 Gbit/s, one unencrypted stream; the same wake-ups, less wire


def _computer(host: _Host, gpus: tuple[_Gpu, ...] = (), prefix: str = "") -> tuple[list[Device], list[Link]]:
    """Return the devices and links of one computer; a GPU reads from disk through the host."""
    cpu, disk = f"{prefix}cpu", f"{prefix}disk"
    devices, links = [], [Link(disk, cpu, host.disk, DISK_LATENCY)]
    for i, gpu in enumerate(gpus):
        name = f"{prefix}cuda:{i}"
        free = gpu.memory - CONTEXT_BYTES
        devices.append(
            Device(
                name, "cuda", gpu.memory, free, gpu.bandwidth, gpu.flops, GPU_OVERHEAD, gpu.label,
                has_bf16=gpu.has_bf16,
            )
        )  # fmt: skip
        links.append(Link(cpu, name, gpu.pcie, COPY_LATENCY))
        links.append(Link(name, cpu, gpu.pcie, COPY_LATENCY))
        links.append(Link(disk, name, min(host.disk, gpu.pcie), DISK_LATENCY + COPY_LATENCY))
    free = host.memory - SYSTEM_BYTES
    computer, _, drive = host.label.rpartition(", ")
    devices.append(
        Device(
            cpu, "cpu", host.memory, free, host.bandwidth, host.flops, CPU_OVERHEAD, computer, bus_bandwidth=host.bus
        )
    )
    devices.append(Device(disk, "disk", 1000 * 10**9, 500 * 10**9, host.disk, label=drive))
    return devices, links


def _profile(name: str, host: _Host, gpus: tuple[_Gpu, ...] = (), note: str = "") -> HardwareProfile:
    devices, links = _computer(host, gpus)
    words = [note] if note else []
    sources = ". ".join([*words, *(gpu.source for gpu in gpus), host.source])
    return HardwareProfile(name, tuple(devices), tuple(links), DATE, "nominal", sources + ".")


def _four(name: str, network: tuple[float, float], words: str) -> HardwareProfile:
    """Return four computers, two with 12 GB and two with 8 GB of GPU memory, each linked with each."""
    computers = ((OLDER, RTX3060), (OLDER, RTX3060), (LAPTOP, LAPTOP4060), (LAPTOP, LAPTOP4060))
    devices: list[Device] = []
    links: list[Link] = []
    for i, (host, gpu) in enumerate(computers):
        own, paths = _computer(host, (gpu,), f"m{i}/")
        devices, links = devices + own, links + paths
    links += [
        Link(f"m{i}/cpu", f"m{j}/cpu", *network)
        for i in range(len(computers)) for j in range(len(computers)) if i != j
    ]  # fmt: skip
    parts: tuple[_Gpu | _Host, ...] = (RTX3060, OLDER, LAPTOP4060, LAPTOP)
    sources = ". ".join([words, *(part.source for part in parts)])
    return HardwareProfile(name, tuple(devices), tuple(links), DATE, "nominal", sources + ".")


_MACHINES: dict[str, Callable[[], HardwareProfile]] = {
    "rtx4090": lambda: _profile("rtx4090", DESKTOP, (RTX4090,)),
    "rtx3060": lambda: _profile("rtx3060", OLDER, (RTX3060,)),
    "laptop8g": lambda: _profile("laptop8g", LAPTOP, (LAPTOP4060,)),
    "t4": lambda: _profile("t4", COLAB, (T4,)),
    "h200": lambda: _profile("h200", SERVER, (H200,)),
    "dual": lambda: _profile(
        "dual", DESKTOP, (RTX3090, RTX3060_X8), "No direct path between the two cards: consumer cards copy through RAM"
    ),
    "four-1g": lambda: _four("four-1g", GIGABIT, "Network: 1 Gbit/s, 117 MB/s of payload, 0.5 ms a hop"),
    "four-10g": lambda: _four("four-10g", TEN_GIGABIT, "Network: 10 Gbit/s, 1.1 GB/s of one stream, 0.45 ms a hop"),
    "cpu": lambda: _profile("cpu", LAPTOP, note="A laptop without a GPU"),
}


def machines() -> tuple[str, ...]:
    """Return the names of the known machines."""
    return tuple(_MACHINES)


def machine(name: str) -> HardwareProfile:
    """Return the nominal profile of a known machine.

    Raises
    ------
    HardwareError : no machine has that name.
    """
    if name not in _MACHINES:
        raise HardwareError(f"No machine {name!r} is known: choose one of {', '.join(machines())}.")
    return _MACHINES[name]()
