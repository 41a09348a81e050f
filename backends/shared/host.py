"""This machine's CPU and NVIDIA GPUs, for runtimes that don't describe devices themselves."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
from dataclasses import replace
from typing import Optional

from bench.backend import Device
from bench.errors import Unavailable
from bench.programs import ask

from .visible import Listed, Unknown, numbered, pci_address

#: A driver's tool that needs longer waits for its driver.
_TOOL_S = 10.0
_VENDORS = {"AuthenticAMD": "AMD", "GenuineIntel": "Intel"}


def cpu_device(simulated: bool = False) -> Device:
    """The device ``cpu``: vendor and name as the kernel tells them, memory as installed."""
    facts = _cpuinfo()
    vendor = facts.get("vendor_id", "")
    name = facts.get("model name") or platform.processor() or platform.machine()
    try:
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        memory_bytes = None
    vendor = _VENDORS.get(vendor, vendor)
    return Device("cpu", vendor, name, memory_bytes=memory_bytes, simulated=simulated)


def nvidia_devices() -> list[Device]:
    """The GPUs that CUDA shows to this process, by its numbers, as the driver's own tool describes
    them: without a name if nobody can say which GPU a number means. None where the tool is missing.
    Raises `Unavailable` where the tool hangs: whatever else touches the driver would hang, too."""
    listed = _listed_gpus()
    if listed is None:
        return []
    places = numbered([gpu for gpu, _ in listed])
    return [
        _nameless(number)
        if isinstance(place, Unknown)
        else replace(listed[place][1], id=f"cuda:{number}")
        for number, place in enumerate(places)
    ]


def _nameless(number: int) -> Device:
    return Device(f"cuda:{number}", "NVIDIA", "CUDA device")


def _listed_gpus() -> Optional[list[tuple[Listed, Device]]]:
    """All GPUs of the machine, as ``nvidia-smi`` lists them; None if there is no such tool."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = "--query-gpu=name,memory.total,driver_version,pci.bus_id,uuid,mig.mode.current"
    printed = _asked_once((tool, query, "--format=csv,noheader,nounits"))
    if printed is None:
        raise Unavailable(
            f"nvidia-smi did not answer within {_TOOL_S:g} s: its driver seems to hang.",
            "A restart often helps.",
        )
    rows = [line.split(", ") for line in printed.splitlines() if line.count(", ") == 5]
    found = []
    for name, mib, driver, bus, uuid, mig in rows:
        memory = int(mib) * 2**20 if mib.isdigit() else None
        listed = Listed(uuid, _address(bus), divided=mig.strip() == "Enabled")
        found.append((listed, Device("", "NVIDIA", name, driver, memory, pci=listed.pci)))
    return found


@functools.lru_cache(maxsize=None)
def _asked_once(command: tuple[str, ...]) -> Optional[str]:
    """What a driver's tool prints, the first time that it is asked for in this process; empty where
    it can't be run, None where it hangs."""
    try:
        return ask(command, _TOOL_S).stdout
    except OSError:
        return ""
    except subprocess.TimeoutExpired:
        return None


def _address(bus: str) -> str:
    """The kernel's form of the tool's ``00000000:06:00.0``; empty for what is no address."""
    numbers = re.fullmatch(r"([0-9a-fA-F]+):([0-9a-fA-F]+):([0-9a-fA-F]+)\.0", bus)
    return pci_address(*(int(number, 16) for number in numbers.groups())) if numbers else ""


def _cpuinfo() -> dict[str, str]:
    """The first processor's fields in ``/proc/cpuinfo``; empty where there is none."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            first = file.read().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
