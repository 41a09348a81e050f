"""Processes and what they start: who is below whom, and dying with one's parent.

What Linux alone offers does nothing elsewhere: there a process group is all that is ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from typing import List

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


def end_all(pids: List[int]) -> None:
    """End these processes at once, those that are still there."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def end_group(pid: int) -> None:
    """End a process and its group, if it leads one, at once."""
    for end in (getattr(os, "killpg", None), os.kill):
        if end is not None:
            with contextlib.suppress(OSError):
                end(pid, signal.SIGKILL)
