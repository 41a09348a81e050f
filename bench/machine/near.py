"""Which CPUs are near a device: on the NUMA node that its slot on the PCI bus belongs to."""

from __future__ import annotations

import re
from pathlib import Path

from bench.machine.linux import ROOT, read_cpu_list

_DEVICES = "sys/bus/pci/devices"
#: Domain, bus, slot and function, as the kernel names the folders there.
_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def near_cpus(pci: str, root: Path = ROOT) -> tuple[int, ...]:
    """The logical CPUs that the kernel calls local to the device at this address, ascending.

    From ``local_cpulist`` (Documentation/ABI/testing/sysfs-bus-pci of Linux), which holds every CPU
    where the machine has one node or the firmware doesn't say. Empty for no address, and where
    the system tells nothing.
    """
    if not _ADDRESS.fullmatch(pci):
        return ()
    return tuple(read_cpu_list(root, f"{_DEVICES}/{pci}/local_cpulist"))
