"""Which CPUs are near a device, or near other CPUs: on the same NUMA node."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from bench.machine.linux import ROOT, read_cpu_list

_DEVICES = "sys/bus/pci/devices"
_NODES = "sys/devices/system/node"
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


def cpus_around(
    cpus: Collection[int], allowed: Collection[int], root: Path = ROOT
) -> tuple[int, ...]:
    """Those of the ``allowed`` logical CPUs that are on a NUMA node of one of these, ascending.

    From ``node*/cpulist`` (Documentation/ABI/stable/sysfs-devices-node of Linux). All that are
    allowed where the system tells of no node.
    """
    nodes = (read_cpu_list(root, f"{_NODES}/{path.name}/cpulist") for path in _node_folders(root))
    near = {cpu for node in nodes if not set(cpus).isdisjoint(node) for cpu in node}
    return tuple(sorted(near.intersection(allowed) or allowed))


def _node_folders(root: Path) -> list[Path]:
    return sorted((root / _NODES).glob("node[0-9]*"))
