"""The scheduler's end of one worker: asking it, and naming how it failed."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from bench.errors import (
    BenchError,
    OutOfMemory,
    Unavailable,
    WorkerCrashed,
    WorkerTimeout,
    from_kind,
)
from bench.runtimes.handshake import Greeting
from bench.runtimes.runtime import Runtime
from bench.worker import PROTOCOL
from bench.worker.wire import Channel, ChannelClosed, ChannelTimeout

Arrays = list[np.ndarray[Any, Any]]


_Error = TypeVar("_Error", bound=BenchError)
_LOG_TAIL_LINES = 12


#: How runtimes word an allocation that failed, on the host or on a device.
_MEMORY_WORDS = ("bad_alloc", "out of memory", "allocate memory", "failed to allocate")


class Server(Protocol):
    """What a worker has to know of the process that forked it."""

    runtime: Runtime
    name: str
    greeting: Greeting | None  #: what its interpreter said about itself

    def exit_status(self, pid: int, wait_s: float) -> int | None:
        """The wait status of a worker that ended; None if it has not within ``wait_s`` seconds."""
        ...


class Worker:
    """The scheduler's end of one worker process."""

    def __init__(
        self, server: Server, pid: int, channel: Channel, log: Path, timeout_s: float
    ) -> None:
        self._server = server
        self._channel = channel
        self.pid = pid
        self.log = log
        self.timeout_s = timeout_s
        self.alive = True  #: as far as its last answer, or its end, told

    @property
    def greeting(self) -> Greeting:
        """What its interpreter said about itself."""
        assert self._server.greeting is not None  # there is no worker without
        return self._server.greeting

    def greet(self) -> None:
        """Check that both sides speak the same protocol."""
        hello, _ = self._receive("start")
        if hello.get("protocol") != PROTOCOL:
            raise WorkerCrashed(
                f"{self._server.name}: its interpreter has another version of bench (protocol "
                f"{hello.get('protocol')}, this is {PROTOCOL}). Install the same version there."
            )

    def request(
        self, op: str, *arrays: np.ndarray[Any, Any], **fields: Any
    ) -> tuple[dict[str, Any], Arrays]:
        """Ask the worker to do ``op`` and wait.

        Raises the worker's own `BenchError`, `WorkerTimeout` (the worker is killed),
        `WorkerCrashed` or `OutOfMemory` (it died).
        """
        try:
            self._channel.send({"op": op, **fields}, *arrays)
        except ChannelClosed as error:
            raise self._obituary(op) from error
        answer, results = self._receive(op)
        if "error" in answer:
            raise self._described(op, answer)
        return answer, results

    def end(self) -> None:
        """Close the session, then the process; never raises."""
        try:
            self.timeout_s = min(self.timeout_s, 10.0)
            self.request("close")
        except BenchError:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self.alive = False
        self._channel.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _receive(self, op: str) -> tuple[dict[str, Any], Arrays]:
        try:
            return self._channel.receive(self.timeout_s)
        except ChannelTimeout as error:
            self.kill()
            raise with_log(WorkerTimeout(self._timeout_words(op)), log_tail(self.log)) from error
        except ChannelClosed as error:
            raise self._obituary(op) from error

    def _timeout_words(self, op: str) -> str:
        if op == "devices":
            return (
                f"{self._server.name} did not list its devices within {self.timeout_s:g} s, so its "
                "driver seems to hang. The vendor's own tool may tell more; often a restart helps."
            )
        return (
            f"{self._server.name}: `{op}` did not end within {self.timeout_s:g} s and the worker "
            "was killed. Allow more with --cell-timeout if it is just slow."
        )

    def _obituary(self, op: str) -> BenchError:
        """Why the worker is dead, as well as can be known."""
        self.alive = False
        status = self._server.exit_status(self.pid, wait_s=5.0)
        tail = log_tail(self.log)
        code = None if status is None else os.waitstatus_to_exitcode(status)
        # Nobody but the kernel's out-of-memory killer (or a person) sends SIGKILL to a worker
        # whose channel is still open: the scheduler closes the channel first.
        if code == -signal.SIGKILL or any(word in tail.lower() for word in _MEMORY_WORDS):
            text = (
                f"{self._server.name}: the worker was killed during `{op}`, most likely by the "
                "kernel's out-of-memory killer. Use a smaller batch or free memory."
            )
            return with_log(OutOfMemory(text), tail)
        text = f"{self._server.name}: the worker {exit_words(code)} during `{op}`."
        return with_log(WorkerCrashed(f"{text} Its output is in {self.log}."), tail)

    def _described(self, op: str, answer: dict[str, Any]) -> BenchError:
        message, elsewhere = answer["message"], self._server.runtime.interpreter
        if answer["error"] == Unavailable.kind:
            error: BenchError = Unavailable(answer["reason"], answer["remedy"])
            if op == "version" and elsewhere is not None:
                # Its runtime can't be imported there; the adapter's advice is for our interpreter.
                reason = f"{self._server.name}: in {elsewhere.python} {answer['reason']}"
                error = Unavailable(reason, elsewhere.mend)
        elif answer["error"] == "crashed" and any(w in message.lower() for w in _MEMORY_WORDS):
            error = OutOfMemory(f"{self._server.name}: {message}. Use a smaller batch.")
        elif answer["error"] == "crashed":
            error = WorkerCrashed(f"{self._server.name}: {message}")
        else:
            error = from_kind(answer["error"], message)
        return with_log(error, log_tail(self.log))


def with_log(error: _Error, tail: str) -> _Error:
    error.log_tail = tail
    return error


def exit_words(code: int | None) -> str:
    if code is None:
        return "closed its channel"
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"died of {signal.Signals(-code).name}"
    return f"died of signal {-code}"


def log_tail(log: Path) -> str:
    """The last lines of a worker's output; empty when there are none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_LOG_TAIL_LINES:])
