"""The CPU of this machine as a device, for runtimes that don't describe it themselves."""

from __future__ import annotations

import os
import platform

from bench.backend import Device

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


def _cpuinfo() -> dict[str, str]:
    """The first processor's fields in ``/proc/cpuinfo``; empty where there is none."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            first = file.read().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
