"""The process between the scheduler and a fork server: none of its workers outlives the scheduler.

It imports no runtime, so it always answers, even while the server hangs in an import. Standard
input is a pipe that the scheduler holds: when it closes, or the server ends, the warden ends all
that is below it. What a worker started and abandoned, a daemon in a session of its own too, is
below it as well, since orphans become its children.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import Optional

from bench.worker.family import adopt_orphans, descendants, die_with_parent, end_all, end_group

#: A process in the middle of a driver's call may not end at once; the warden doesn't wait for ever.
_PATIENCE_S = 5.0
_PAUSE_S = 0.005


def guard() -> None:
    """Split this process in two: the child returns, and the parent watches it and never does."""
    scheduler = os.getppid()
    warden = os.getpid()
    server = os.fork()
    if server == 0:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        die_with_parent(warden)
        return
    os.closerange(3, _most_descriptors())
    adopt_orphans()
    _end_like(_watch(server, scheduler))


def _most_descriptors() -> int:
    """One more than the highest descriptor that this process may have inherited."""
    try:
        return 1 + max(int(name) for name in os.listdir("/proc/self/fd"))
    except (OSError, ValueError):
        return 256


def _watch(server: int, scheduler: int) -> Optional[int]:
    """The wait status of the server once it ended, by itself or since the scheduler is gone."""
    awake, wake = os.pipe()
    for end in (awake, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    # SIGUSR1: a thread of the scheduler ended, or the scheduler, which is looked at below.
    for number in (signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)
    # Whoever asks this process to end means all that it guards.
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(scheduler, signal.SIGUSR1)
    status = None
    while status is None and not asked and os.getppid() == scheduler:
        ready, _, _ = select.select([0, awake], [], [])
        if awake in ready:
            _drain(awake)
        status = _reap(server)
        if 0 in ready and not os.read(0, 4096):
            break
    return _end_everything(server, status)


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass


def _reap(server: int) -> Optional[int]:
    """Take leave of every child that ended; the status of the server, where it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == server:
            found = status


def _end_everything(server: int, status: Optional[int]) -> Optional[int]:
    """End all that is below this process; what they leave behind becomes its children, and follows.

    Off Linux, where nobody lists them, it is the server's group, and then its workers see their
    channels close.
    """
    if status is None:
        end_group(server)
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        left = descendants(os.getpid())
        end_all(left)
        ended = _reap(server)
        status = ended if ended is not None else status
        if not left and status is not None:
            break
        time.sleep(_PAUSE_S)
    return status


def _end_like(status: Optional[int]) -> None:
    """End as the server did, so that the scheduler sees how it ended."""
    if status is not None and os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.stdout.flush()
    os._exit(1 if status is None else os.WEXITSTATUS(status))
