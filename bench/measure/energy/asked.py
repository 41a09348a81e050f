"""What the programs that meters ask use of the CPUs: a user's command, a vendor's tool.

They belong to the measurement, and are not what else the machine does.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine.disturbance import jiffy_nanoseconds, process_cpu_ns
from bench.worker.family import descendants


@dataclass
class Grown:
    """What was used so far, which is never unused: what has just ended may be in no sum, and of a
    process that is gone nobody tells any more."""

    ns: int = 0

    def to(self, now_ns: int) -> int:
        """The most that was told so far, this included."""
        self.ns = max(self.ns, now_ns)
        return self.ns


@dataclass
class Asked:
    """The CPU time of the programs that one thread asks, one after the other."""

    _ended_ns: int = 0
    _thread: int | None = None
    _used: Grown = field(default_factory=Grown)

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Around a program that ends meanwhile."""
        self._thread, before_ns = threading.get_native_id(), _waited_for_ns()
        try:
            yield
        finally:
            self._ended_ns += _waited_for_ns() - before_ns

    def used_ns(self) -> int:
        """By all so far, the one that still runs included."""
        running = [] if self._thread is None else _started_by_thread(self._thread)
        now_ns = self._ended_ns + sum(below_ns(pid) + (process_cpu_ns(pid) or 0) for pid in running)
        return self._used.to(now_ns)


def below_ns(pid: int) -> int:
    """The CPU time of all that a process has started: what ended and was waited for, and what still
    runs."""
    running = descendants(pid)
    # First what is over: one that ends meanwhile is in neither sum then, and not in both.
    ended_ns = sum(_waited_for_by_ns(each) for each in (pid, *running))
    return ended_ns + sum(process_cpu_ns(each) or 0 for each in running)


def _waited_for_ns() -> int:
    """The CPU time of all that this process has started and waited for."""
    times = os.times()
    return round((times.children_user + times.children_system) * 1e9)


def _waited_for_by_ns(pid: int) -> int:
    """The same of another process: fields 16 and 17 of ``/proc/PID/stat`` (proc(5)), in jiffies;
    0 where it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    # The name of the program may hold spaces and parentheses, so count from the last one.
    numbers = text.rpartition(b")")[2].split()
    return (int(numbers[13]) + int(numbers[14])) * jiffy_nanoseconds()


def _started_by_thread(thread: int) -> list[int]:
    """What a thread of this process has started and not waited for."""
    try:
        return [*map(int, Path(f"/proc/self/task/{thread}/children").read_text().split())]
    except OSError:
        return []
