"""This machine's CPU and NVIDIA GPUs, for runtimes that don't describe devices themselves."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from typing import Optional

from bench.backend import Device
from bench.errors import Unavailable
from bench.programs import ask

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
    """The GPUs that the driver's own tool lists; one without a name where the tool is missing.
    Raises `Unavailable` where it hangs: whatever else touches the driver would hang, too."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return [Device("cuda:0", "NVIDIA", "CUDA device")]
    query = "--query-gpu=name,memory.total,driver_version,pci.bus_id"
    command = [tool, query, "--format=csv,noheader,nounits"]
    printed = _asked_once(tuple(command))
    if printed is None:
        raise Unavailable(
            f"nvidia-smi did not answer within {_TOOL_S:g} s: its driver seems to hang.",
            "A restart often helps.",
        )
    rows = [line.split(", ") for line in printed.splitlines() if line.count(", ") == 3]
    return [
        Device(
            f"cuda:{index}",
            "NVIDIA",
            name,
            driver,
            int(mib) * 2**20 if mib.isdigit() else None,
            pci=_bus_address(bus),
        )
        for index, (name, mib, driver, bus) in enumerate(rows)
    ]


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


def _bus_address(bus: str) -> str:
    """The kernel's form of what nvidia-smi prints with a domain of eight digits:
    ``00000000:06:00.0``."""
    domain, _, rest = bus.strip().lower().partition(":")
    return f"{domain[-4:]}:{rest}" if rest else ""


def _cpuinfo() -> dict[str, str]:
    """The first processor's fields in ``/proc/cpuinfo``; empty where there is none."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            first = file.read().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
