"""What the machine has (probe), how fast it is (measure), the two as one profile, and known machines (catalog)."""

from .cached import hardware_profile
from .catalog import machine, machines
from .measure import measure
from .probe import probe_devices
from .profile import Device, HardwareProfile, Link
from .report import describe

__all__ = ["Device", "HardwareProfile", "Link", "describe", "hardware_profile", "machine", "machines",
           "measure", "probe_devices"]  # fmt: skip
