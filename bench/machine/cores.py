"""Which cores to measure on."""

from __future__ import annotations

import os
from pathlib import Path

from bench.machine.linux import (
    CPUS,
    ROOT,
    allowed_cpus,
    psutil_count,
    read_cpu_list,
    read_integer,
    sibling_cpus,
)


def choose_cores(threads: int, root: Path = ROOT) -> list[int]:
    """The logical CPUs to measure on: at most ``threads``, one per physical core, ascending.

    Taken from the affinity mask, the highest-numbered physical cores first, so that the lowest is
    left to the harness where there are more than needed; cores of a lower capacity (the
    efficiency cores of a hybrid CPU) come last. Fewer than ``threads`` are returned where the mask
    holds fewer physical cores. Where the system tells no topology, CPUs count as cores (every
    second one where psutil says that a core has two); where it has no affinity (macOS), the
    numbers are nominal and only their count means something. Ask before the process pins itself,
    for the mask is its own. Raises `ValueError` for threads < 1.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    cores = _allowed_cores(root)
    weak = _weak_cpus(root)
    capacities = {cpu: read_integer(root, f"{CPUS}/cpu{cpu}/cpu_capacity") or 0 for cpu in cores}
    order = sorted(
        cores,
        key=lambda cpu: (cpu not in weak, capacities[cpu], _package(root, cpu), cpu),
        reverse=True,
    )
    return sorted(order[:threads])


def _allowed_cores(root: Path) -> list[int]:
    """The first allowed logical CPU of each physical core."""
    allowed = allowed_cpus() or tuple(range(os.cpu_count() or 1))
    siblings = sibling_cpus(root)
    if siblings:
        core_of = {cpu: group[0] for group in siblings for cpu in group}
        first: dict[int, int] = {}
        for cpu in allowed:
            first.setdefault(core_of.get(cpu, cpu), cpu)
        return list(first.values())
    physical, logical = psutil_count(logical=False), psutil_count(logical=True)
    threads_per_core = max(1, logical // physical) if physical and logical else 1
    return list(allowed[::threads_per_core])


def _weak_cpus(root: Path) -> set[int]:
    """The efficiency cores of a hybrid Intel CPU, as its performance counters name them."""
    return set(read_cpu_list(root, "sys/devices/cpu_atom/cpus"))


def _package(root: Path, cpu: int) -> int:
    return read_integer(root, f"{CPUS}/cpu{cpu}/topology/physical_package_id") or 0
