"""Processes and what they start: who is below whom, and dying with one's parent.

What Linux alone offers does nothing elsewhere: there a process group is all that is ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from typing import List, Optional

#: From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when ``parent``, which started it, ends."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended before the kernel knew
        os.kill(os.getpid(), number)


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants(pid: int) -> List[int]:
    """All processes below ``pid``, nearest first; none where the system doesn't list them."""
    found: List[int] = []
    waiting = [pid]
    while waiting:
        children = _children(waiting.pop(0))
        found += children
        waiting += children
    return found


def _children(pid: int) -> List[int]:
    found: List[int] = []
    # A process or thread that ended meanwhile has no children any more.
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as file:
                found += [int(child) for child in file.read().split()]
    return found


def cpu_ns(pid: int) -> Optional[int]:
    """CPU time of all threads of a process, as `bench.machine.disturbance` counts it, even of one
    that has ended until its parent has taken leave of it; None where it can't be asked."""
    if sys.platform != "linux":
        return None
    # glibc's clock_getcpuclockid: the process's bits inverted, CPUCLOCK_SCHED = 2.
    with contextlib.suppress(OSError):
        return time.clock_gettime_ns(~pid << 3 | 2)
    return None


def end_all(pids: List[int]) -> None:
    """End these processes at once, those that are still there."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def end_group(pid: int) -> None:
    """End a process and its group, if it leads one, at once."""
    end_members(pid)
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def end_members(group: int) -> None:
    """End all of a process group at once. Its number stays taken while it has members; that of a
    leader whose parent has taken leave of it may be another process's."""
    killpg = getattr(os, "killpg", None)
    if killpg is not None:
        with contextlib.suppress(OSError):
            killpg(group, signal.SIGKILL)
