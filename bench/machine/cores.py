"""Which cores to measure on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
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

#: CPU time of others is compared in quarters of the window: one tick of the kernel's clock in a
#: short window is no reason to move.
_LEVELS = 4


def choose_cores(
    threads: int,
    root: Path = ROOT,
    *,
    allowed: Sequence[int] | None = None,
    busy: Mapping[int, float] | None = None,
) -> list[int]:
    """The logical CPUs to measure on: at most ``threads``, one per physical core, ascending.

    Taken from ``allowed`` (all that this process may use), the highest-numbered physical cores
    first, so that the lowest is left to the harness where there are more than needed; cores of a
    lower capacity (the efficiency cores of a hybrid CPU) come last. ``busy`` says which share of
    each CPU's time others use (`bench.machine.quiet`): among cores of one kind the idlest win, both
    hardware threads of a core counted, and on one socket where that has enough. Fewer than
    ``threads`` are returned where the mask holds fewer physical cores. Where the system tells no
    topology, CPUs count as cores (every second one where psutil says that a core has two); where it
    has no affinity (macOS), the numbers are nominal and only their count means something. Raises
    `ValueError` for threads < 1.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    siblings = sibling_cpus(root)
    usable = tuple(allowed or allowed_cpus() or range(os.cpu_count() or 1))
    weak = _weak_cpus(root)
    cores = _cores_among(usable, siblings)
    kinds = {
        cpu: (cpu not in weak, read_integer(root, f"{CPUS}/cpu{cpu}/cpu_capacity") or 0)
        for cpu in cores
    }
    order = sorted(cores, key=lambda cpu: (kinds[cpu], _package(root, cpu), cpu), reverse=True)
    chosen = order[:threads]
    if busy:
        level = _levels(order, siblings, busy)
        # Both sorts are stable: what is alike keeps the order of above.
        calm = sorted(
            sorted(order, key=lambda cpu: level[cpu]), key=kinds.__getitem__, reverse=True
        )
        packages = dict.fromkeys(_package(root, cpu) for cpu in order)
        pools = [[c for c in calm if _package(root, c) == one] for one in packages]
        sets = [pool[:threads] for pool in pools if len(pool) >= threads] or [calm[:threads]]
        wanted = sorted(kinds[cpu] for cpu in chosen)
        alike = [cpus for cpus in sets if sorted(kinds[cpu] for cpu in cpus) == wanted]
        chosen = min(alike, key=lambda cpus: sum(level[cpu] for cpu in cpus), default=chosen)
    return sorted(chosen)


def pin_process(pid: int, cpus: Sequence[int]) -> None:
    """Keep a process that runs already, with all threads that it has, on these CPUs; threads that
    they start stay there too. Nothing happens where the system can't, or the process has ended."""
    if not hasattr(os, "sched_setaffinity"):
        return
    pinned: set[int] = set()
    with contextlib.suppress(OSError):
        # Once more where a thread was started meanwhile by one that wasn't pinned yet.
        while new := {int(name) for name in os.listdir(f"/proc/{pid}/task")} - pinned:
            for thread in new:
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(thread, cpus)
            pinned |= new


def _levels(
    cores: Sequence[int], siblings: Sequence[Sequence[int]] | None, busy: Mapping[int, float]
) -> dict[int, int]:
    """How busy each core is, its other hardware threads included, in quarters of its time."""
    group_of = {cpu: group for group in siblings or () for cpu in group}
    return {
        cpu: int(_LEVELS * min(1.0, sum(busy.get(one, 0.0) for one in group_of.get(cpu, (cpu,)))))
        for cpu in cores
    }


def _cores_among(allowed: Sequence[int], siblings: Sequence[Sequence[int]] | None) -> list[int]:
    """The first allowed logical CPU of each physical core."""
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
