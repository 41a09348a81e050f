"""The CPUs to measure on, chosen by what other programs leave idle, and chosen again.

A worker is pinned, so it can't step aside when another program is put on its CPU: from then on
both get half of it. `Cores` looks which CPUs are idle in a short window in which nothing of ours
runs, and takes all the CPUs of a generation from that one look.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from bench.machine.cores import choose_cores
from bench.machine.linux import ROOT, allowed_cpus, keep_off, read_text
from bench.machine.near import cpus_around

#: Five ticks of the kernel's usual clock (100 a second): enough to tell a CPU that another program
#: uses from an idle one, and too short to be noticed in a run of seconds.
WINDOW_S = 0.05


def parse_cpu_times(text: str) -> dict[int, tuple[int, int]]:
    """By CPU the ticks that are not idle, and all of them, from ``/proc/stat`` (proc(5)).

    Time that the hypervisor gave to others counts as used; waiting for a disk does not.
    """
    found = {}
    for cpu, numbers in re.findall(r"^cpu([0-9]+)((?: [0-9]+){8,})", text, re.MULTILINE):
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, numbers.split()[:8])
        used = user + nice + system + irq + softirq + steal
        found[int(cpu)] = used, used + idle + iowait
    return found


def busy_shares(
    before: Mapping[int, tuple[int, int]], after: Mapping[int, tuple[int, int]]
) -> dict[int, float]:
    """Which share of each CPU's time was used between two readings."""
    shares = {}
    for cpu in before.keys() & after.keys():
        used, ticks = (late - early for early, late in zip(before[cpu], after[cpu], strict=True))
        shares[cpu] = min(1.0, max(0.0, used / ticks)) if ticks > 0 else 0.0
    return shares


class Cores:
    """The CPUs that a cell is measured on, by how many it computes on.

    As a context manager it keeps the harness off them, where there are others.
    """

    def __init__(
        self,
        counts: Collection[int],
        root: Path = ROOT,
        sleep: Callable[[float], None] = time.sleep,
        near: Collection[tuple[int, ...]] = (),
    ) -> None:
        self._root, self._sleep = root, sleep
        self._counts = sorted(counts)
        self._near = set(near)  #: sets of CPUs that are asked for with `beside`
        self._busy: Mapping[int, float] = {}
        self._allowed = allowed_cpus()
        self._entered = False
        self._chosen = self._choice()

    def __getitem__(self, count: int) -> tuple[int, ...]:
        return self._chosen[count]

    def beside(self, count: int, near: tuple[int, ...]) -> tuple[int, ...]:
        """The CPUs for so many host threads of a device that these are near to, by the same look.

        Those of all cells where fewer of these may be used than of all: threads that take turns on
        a CPU lose more than those that are far away. So too where nothing is known to be near.
        """
        usable = sorted(set(near).intersection(self._allowed or near))
        if not usable or set(usable) >= set(self._allowed or ()):
            return self[count]
        chosen = self._chosen_of(count, usable)
        return chosen if len(chosen) == len(self[count]) else self[count]

    def around(self, cpus: Sequence[int]) -> tuple[int, ...]:
        """Where a worker that is to stay on these CPUs may start: beside others that start too, and
        where its memory is near. Empty where the system has no affinity."""
        if self._allowed is None:
            return ()
        return cpus_around(cpus, self._allowed, self._root)

    def choose_again(self) -> None:
        """Look which CPUs others use, and take the idlest; for all counts from the same look."""
        if self._allowed is None or len(self._allowed) < 2:
            return
        before = self._times()
        if not before:
            return
        self._sleep(WINDOW_S)
        self._busy = busy_shares(before, self._times())
        self._chosen = self._choice()
        self._step_aside()

    def __enter__(self) -> Cores:
        self._entered = True
        self._step_aside()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered = False
        if self._allowed is not None:
            keep_off((), self._allowed)

    def _step_aside(self) -> None:
        """Keep this process off the chosen CPUs, where there are others."""
        if not self._entered or self._allowed is None:
            return
        chosen = [*self._chosen.values()]
        chosen += [self.beside(count, near) for count in self._counts for near in self._near]
        keep_off({cpu for cpus in chosen for cpu in cpus}, self._allowed)

    def _choice(self) -> dict[int, tuple[int, ...]]:
        return {count: self._chosen_of(count, self._allowed) for count in self._counts}

    def _chosen_of(self, count: int, allowed: Sequence[int] | None) -> tuple[int, ...]:
        return tuple(choose_cores(count, self._root, allowed=allowed, busy=self._busy))

    def _times(self) -> dict[int, tuple[int, int]]:
        return parse_cpu_times(read_text(self._root, "proc/stat") or "")
