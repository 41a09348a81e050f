"""Starting workers, talking to them, and naming how they failed."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from bench.backend import Device
from bench.errors import (
    BenchError,
    NotInBuild,
    OutOfMemory,
    Unavailable,
    WorkerCrashed,
    WorkerTimeout,
    from_kind,
)
from bench.runtimes.environments.interpreter import Interpreter
from bench.runtimes.environments.stage import stage
from bench.runtimes.handshake import Greeting, cannot_start, check_greeting, silent
from bench.worker import PATH_VARIABLE, PROTOCOL, START
from bench.worker.wire import Channel, ChannelClosed, ChannelTimeout

Arrays = list[np.ndarray[Any, Any]]
_Error = TypeVar("_Error", bound=BenchError)

#: Importing torch on a slow disk takes tens of seconds; past this the runtime is taken to hang.
_START_TIMEOUT_S = 120.0
_LOG_TAIL_LINES = 12

#: How runtimes word an allocation that failed, on the host or on a device.
_MEMORY_WORDS = ("bad_alloc", "out of memory", "allocate memory", "failed to allocate")


@dataclass(frozen=True)
class Runtime:
    """How to start a backend's workers: its name, adapter (``module:Class``), variables, the
    forms and variants of a model that it takes, and where not in the interpreter of `bench`."""

    name: str
    reference: str
    environment: Mapping[str, str]
    forms: tuple[str, ...] = ("onnx",)
    variants: tuple[str, ...] = ("fp32",)
    interpreter: Interpreter | None = None
    requirable: tuple[str, ...] = ()  #: environments that `bench env create` makes for it

    @property
    def label(self) -> str:
        """``backend``, or ``backend@environment``: the head of its targets."""
        return self.name if self.interpreter is None else f"{self.name}@{self.environment_name}"

    @property
    def environment_name(self) -> str:
        """The environment that its workers run in; empty in the interpreter of `bench`."""
        return "" if self.interpreter is None else self.interpreter.environment

    @property
    def python(self) -> str:
        """The interpreter of its workers."""
        return sys.executable if self.interpreter is None else self.interpreter.python

    def start_variables(self) -> dict[str, str]:
        """What its processes start with, but for what the backend sets."""
        if self.interpreter is None:
            return dict(os.environ)
        staged = str(stage(self.reference))
        return {**self.interpreter.start_variables(), PATH_VARIABLE: staged}


class ForkServer:
    """One interpreter with one runtime imported, from which workers are forked.

    ``environment`` is added to the variables. Raises `Unavailable` for an interpreter that can't
    be started; what it says about itself is checked when the first worker is wanted.
    """

    def __init__(self, runtime: Runtime, environment: Mapping[str, str], log: Path) -> None:
        self.runtime = runtime
        self.name = runtime.label
        self.log = log
        self.greeting: Greeting | None = None
        self._ended: dict[int, int] = {}
        self._pids: collections.deque[int] = collections.deque()
        self._buffer = b""
        ours, theirs = socket.socketpair()
        self._control = ours
        command = [runtime.python, "-c", START, str(theirs.fileno()), runtime.reference]
        variables = {**runtime.start_variables(), **environment}
        try:
            with log.open("ab") as output:
                # A session of its own: Ctrl-C reaches the scheduler alone, which ends workers in
                # order.
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[theirs.fileno()],
                    env=variables,
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            raise cannot_start(self.name, runtime.python, runtime.interpreter, error) from error
        finally:
            theirs.close()
        self.ready = False

    def spawn(self, log: Path, timeout_s: float) -> Worker:
        """Fork one worker whose output goes to ``log``; each of its answers may take ``timeout_s``.

        Raises `WorkerCrashed` when the server or the worker dies at once.
        """
        self._await(lambda: self.ready, _START_TIMEOUT_S)
        ours, theirs = socket.socketpair()
        with log.open("ab") as output:
            try:
                socket.send_fds(self._control, [b"fork\n"], [theirs.fileno(), output.fileno()])
            except OSError as error:
                raise self._dead() from error
            finally:
                theirs.close()
        self._await(lambda: bool(self._pids), _START_TIMEOUT_S)
        worker = Worker(self, self._pids.popleft(), Channel(ours), log, timeout_s)
        worker.greet()
        return worker

    def exit_status(self, pid: int, wait_s: float) -> int | None:
        """The wait status of a worker that ended; None if it has not within ``wait_s`` seconds."""
        with contextlib.suppress(BenchError):
            self._await(lambda: pid in self._ended, wait_s)
        return self._ended.pop(pid, None)

    def hang_up(self) -> None:
        """Tell the server to end, and with it every worker that it still has."""
        self._control.close()

    def close(self) -> None:
        """Hang up and wait for the end."""
        self.hang_up()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _await(self, done: Any, timeout_s: float) -> None:
        """Read the server's messages until ``done()``."""
        deadline = time.monotonic() + timeout_s
        while not done():
            self._control.settimeout(max(deadline - time.monotonic(), 1e-6))
            try:
                data = self._control.recv(65536)
            except TimeoutError as error:
                raise WorkerTimeout(
                    f"{self.name}: its process did not answer within {timeout_s:.0f} s "
                    f"(output: {self.log})."
                ) from error
            except OSError as error:
                raise self._dead() from error
            if not data:
                raise self._dead()
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            for line in lines:
                self._note(json.loads(line))

    def _note(self, message: dict[str, Any]) -> None:
        if "hello" in message:
            runtime = self.runtime
            self.greeting = check_greeting(message, self.name, runtime.python, runtime.interpreter)
        elif "ready" in message:
            self.ready = True
        elif "pid" in message:
            self._pids.append(message["pid"])
        else:
            self._ended[message["ended"]] = message["status"]

    def _dead(self) -> BenchError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        how = _exit_words(self._process.returncode)
        tail = log_tail(self.log)
        reason = f" ({tail.splitlines()[-1].strip()})" if tail else ""
        if self.greeting is None:
            said = f"{how}{reason}"
            runtime = self.runtime
            return _with_log(silent(said, self.name, runtime.python, runtime.interpreter), tail)
        return _with_log(
            WorkerCrashed(
                f"{self.name}: the process that imports the runtime {how}{reason}. "
                f"Its output is in {self.log}."
            ),
            tail,
        )


class Worker:
    """The scheduler's end of one worker process."""

    def __init__(
        self, server: ForkServer, pid: int, channel: Channel, log: Path, timeout_s: float
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
            raise _with_log(WorkerTimeout(self._timeout_words(op)), log_tail(self.log)) from error
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
            return _with_log(OutOfMemory(text), tail)
        text = f"{self._server.name}: the worker {_exit_words(code)} during `{op}`."
        return _with_log(WorkerCrashed(f"{text} Its output is in {self.log}."), tail)

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
        return _with_log(error, log_tail(self.log))


def _with_log(error: _Error, tail: str) -> _Error:
    error.log_tail = tail
    return error


def _exit_words(code: int | None) -> str:
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


class Launcher:
    """Fork servers by (adapter, thread count), started when first needed and kept."""

    def __init__(self, logs: Path, timeout_s: float) -> None:
        self.logs = logs
        self.timeout_s = timeout_s
        self._servers: dict[tuple[str, str, int], ForkServer] = {}
        self._broken: dict[tuple[str, str, int], BenchError] = {}
        self._spawned = 0

    def prepare(self, runtime: Runtime, threads: int) -> None:
        """Start a runtime's fork server without waiting, so that runtimes import side by side.

        Why one can't be started is kept for who wants a worker of it.
        """
        key = (runtime.reference, runtime.environment_name, threads)
        if key in self._servers or key in self._broken:
            return
        environment = {**thread_environment(threads), **runtime.environment}
        log = self.logs / f"{runtime.label}-{threads}-server.log"
        try:
            self._servers[key] = ForkServer(runtime, environment, log)
        except BenchError as error:
            self._broken[key] = error

    def worker(self, runtime: Runtime, threads: int) -> Worker:
        """A fresh worker. Raises `Unavailable`, `WorkerCrashed` or `WorkerTimeout` when none can
        be had."""
        key = (runtime.reference, runtime.environment_name, threads)
        self.prepare(runtime, threads)
        if key in self._broken:
            raise self._broken[key]
        self._spawned += 1
        log = self.logs / f"{runtime.label}-{self._spawned:04d}.log"
        server = self._servers[key]
        try:
            return server.spawn(log, self.timeout_s)
        except BenchError as error:
            # A server that took harm is replaced when the next worker is wanted, but a runtime
            # that could not even be imported would fail again, slowly, for each of its cells.
            self._servers.pop(key).close()
            if not server.ready:
                self._broken[key] = error
            raise

    def close(self) -> None:
        # All at once: giving back the memory of a runtime takes the kernel a while.
        for server in self._servers.values():
            server.hang_up()
        for server in self._servers.values():
            server.close()
        self._servers.clear()


@contextlib.contextmanager
def launcher(logs: Path, timeout_s: float) -> Iterator[Launcher]:
    """A `Launcher` that leaves no process behind."""
    logs.mkdir(parents=True, exist_ok=True)
    made = Launcher(logs, timeout_s)
    try:
        yield made
    finally:
        made.close()


def thread_environment(threads: int) -> dict[str, str]:
    """Variables that OpenMP and BLAS libraries read when they load: the thread count, and no
    spinning after the last call, which would heat the core that another worker is timed on."""
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
        "GOMP_SPINCOUNT": "0",
    }


class Probe(NamedTuple):
    """What a worker tells about its runtime and its interpreter."""

    version: str
    devices: list[Device]  #: those that answered when touched
    absent: dict[str, Unavailable]  #: kinds of device that should be there, and why they aren't
    greeting: Greeting


def probe(worker: Worker) -> Probe:
    """The runtime's version and the devices that answered when touched."""
    version, _ = worker.request("version")
    found, _ = worker.request("devices")
    absent = {
        kind: (NotInBuild if another_build else Unavailable)(reason, remedy)
        for kind, (reason, remedy, another_build) in found["absent"].items()
    }
    devices = [Device(**device) for device in found["devices"]]
    return Probe(version["version"], devices, absent, worker.greeting)
