"""Work in a process of its own: what it breaks, ends or leaves behind breaks nothing else.

Code of the user's and exporters may exit, read address zero, run out of memory or start processes
that stay. `apart` forks, so that what is imported already needs not be imported again, and gets the
result back through a pipe.

With the environment variable BENCH_IN_PROCESS set the work is done in this process, for debuggers
and for what counts the lines that ran.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from bench import guest
from bench.errors import BenchError, OutOfMemory, WorkerCrashed
from bench.worker.warden import guard

IN_PROCESS = "BENCH_IN_PROCESS"
_Result = TypeVar("_Result")
#: A value to be returned, an error to be raised, a text to be said.
_VALUE, _ERROR, _TEXT = b"v", b"e", b"t"
_HEAD = struct.Struct("<cQ")
#: How often a process that says nothing is looked after.
_LOOK_S = 0.05
_end_at_once = os._exit  # before anybody replaces it


def apart(
    where: str, work: Callable[[], _Result], say: Callable[[str], None] | None = None
) -> _Result:
    """What ``work`` returns. Its errors are raised here.

    ``where`` is what messages call it; where ``say`` is given, it is told what `tell` tells there.
    Raises `WorkerCrashed` or `OutOfMemory` where the process ends without a result.
    """
    global _say
    if os.environ.get(IN_PROCESS) or not hasattr(os, "fork"):
        before, _say = _say, say or _unheard
        try:
            return work()
        finally:
            _say = before
    reading, writing = os.pipe()
    wanted, wanting = os.pipe()  # it is wanted for as long as this end is open
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os.close(wanting)
        _child(work, writing, wanted)
    os.close(writing)
    os.close(wanted)
    try:
        found: _Result = _result(where, reading, pid, say or _unheard)
        return found
    finally:
        os.close(reading)
        os.close(wanting)
        # Whatever it started goes with it, what is in a session of its own too.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def tell(text: str) -> None:
    """From work that is done apart: what takes time now."""
    _say(text)


def exit_words(code: int | None) -> str:
    """How a process ended, as a predicate; None where that isn't known."""
    if code is None:
        return "closed its channel"
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"died of {signal.Signals(-code).name}"
    return f"died of signal {-code}"


def _unheard(text: str) -> None: ...


_say: Callable[[str], None] = _unheard


# -- the process that works -----------------------------------------------------------------------


def _child(work: Callable[[], object], writing: int, wanted: int) -> None:
    """Do the work, send what comes of it, and end without what else an interpreter does at its
    end: that belongs to the process that was forked."""
    global _say
    try:
        _settle_in(wanted)
        _say = lambda text: _write(writing, _TEXT, _pickled(text))  # noqa: E731
        try:
            kind, sent = _VALUE, _pickled((work(), guest.changes()))
        except BaseException as error:
            kind, sent = _ERROR, _pickled(_sendable(error))
        _write(writing, kind, sent)
    finally:
        _end_at_once(0)


def _settle_in(wanted: int) -> None:
    """Below a warden, which ends all that is below it once ``wanted`` closes."""
    # What was there before the fork isn't torn down here: a runtime's session that waits to be
    # collected would join threads that this process, and its warden, don't have.
    gc.freeze()
    os.setsid()
    # The streams of the other process may be locked by a thread that is not here.
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    sys.stdout = sys.stderr = open(2, "w", buffering=1, errors="replace", closefd=False)  # noqa: SIM115
    os.dup2(wanted, 0)
    os.close(wanted)
    guard()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if "torch" in sys.modules:
        # A pool of OpenMP's threads does not survive a fork, and one thread needs none.
        sys.modules["torch"].set_num_threads(1)


def _sendable(error: BaseException) -> BaseException:
    """The error, or where it can't be sent what it says."""
    with contextlib.suppress(Exception):
        if isinstance(pickle.loads(pickle.dumps(error)), type(error)):
            return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def _pickled(value: object) -> bytes:
    """Raises `BenchError` for what lives in this process alone: a function, an open file."""
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise BenchError(f"its result can't be sent to another process: {error}.") from error


def _write(writing: int, kind: bytes, data: bytes) -> None:
    left = memoryview(_HEAD.pack(kind, len(data)) + data)
    while left:
        left = left[os.write(writing, left) :]


# -- the process that waits -----------------------------------------------------------------------


def _result(where: str, reading: int, pid: int, say: Callable[[str], None]) -> Any:
    """What the other process sends, which ran this very code and what the user asked it to run."""
    while True:
        head = _read(reading, pid, _HEAD.size)
        kind, size = _HEAD.unpack(head) if head is not None else (b"", 0)
        data = _read(reading, pid, size) if head is not None else None
        if data is None:
            raise _death(where, pid)
        try:
            value = pickle.loads(data)
        except Exception as error:
            raise BenchError(f"{where}: its result can't be read: {error}.") from error
        if kind == _TEXT:
            say(value)
        elif kind == _ERROR:
            raise value
        else:
            found, changes = value
            guest.note_changes(changes)
            return found


def _read(reading: int, pid: int, size: int) -> bytes | None:
    """So many bytes; None where the process ended before. A process of its own may keep the pipe
    open, so the end of the pipe is not waited for."""
    found = bytearray()
    waiting = select.poll()  # `select.select` takes no number above 1023
    waiting.register(reading, select.POLLIN)
    while len(found) < size:
        if not waiting.poll(1000 * _LOOK_S):
            if _ended(pid):
                return None
            continue
        part = os.read(reading, min(size - len(found), 1 << 20))
        if not part:
            return None
        found += part
    return bytes(found)


def _ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _death(where: str, pid: int) -> BenchError:
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL:
        return OutOfMemory(
            f"{where}: the process that ran it was killed, most likely by the kernel's "
            "out-of-memory killer. Free memory, or use a smaller model."
        )
    return WorkerCrashed(
        f"{where}: the process that ran it {exit_words(code)}. What it printed is above; run it "
        "alone to see more."
    )
