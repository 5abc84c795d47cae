"""What the machine has (probe), how fast it is (measure), and the two as one profile."""

from .measure import hardware_profile, measure
from .probe import probe_devices
from .profile import Device, HardwareProfile, Link
from .report import describe

__all__ = ["Device", "HardwareProfile", "Link", "describe", "hardware_profile", "measure", "probe_devices"]
