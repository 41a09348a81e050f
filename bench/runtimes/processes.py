"""Starting workers, talking to them, and naming how they failed."""

from __future__ import annotations

import collections
import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import folders
from bench.apart import exit_words
from bench.errors import (
    BenchError,
    WorkerCrashed,
    WorkerTimeout,
)
from bench.machine.cores import pin_process
from bench.machine.linux import allowed_cpus
from bench.runtimes.client import End, Worker, with_log
from bench.runtimes.handshake import Greeting, cannot_start, check_greeting, silent
from bench.runtimes.logs import cap_log, last_words, log_tail
from bench.runtimes.runtime import Runtime
from bench.worker import START
from bench.worker.wire import Channel

#: Importing torch on a slow disk takes tens of seconds; past this the runtime is taken to hang.
_START_TIMEOUT_S = 120.0
#: The longest that a fork is waited for: until the runtime is imported, then the model's modules.
_FORK_TIMEOUT_S = 2 * _START_TIMEOUT_S
#: What a fork server says of itself and of a worker takes some hundred.
_MOST_LINE_BYTES = 1 << 20
#: Longer than its warden waits for what it ends (`bench.worker.warden`).
_END_TIMEOUT_S = 10.0


class Abandoned(Exception):
    """Nobody may ask a fork server any more: the answer to an earlier question is still to come.
    ``why`` it was not waited for is None where that was an interrupt."""

    def __init__(self, why: BenchError | None) -> None:
        super().__init__(why)
        self.why = why


class ForkServer:
    """One interpreter with one runtime imported, from which workers are forked.

    ``environment`` is added to the variables. Raises `Unavailable` for an interpreter that can't
    be started; what it says about itself is checked when the first worker is wanted. Threads may
    ask for workers at the same time: forking them is quick, and what takes long is theirs alone.
    """

    def __init__(self, runtime: Runtime, environment: Mapping[str, str], log: Path) -> None:
        self.runtime = runtime
        self.name = runtime.label
        self.log = log
        self.greeting: Greeting | None = None
        self._ended: dict[int, End] = {}
        self._pids: collections.deque[int] = collections.deque()
        self._buffer = b""
        self._turn = threading.RLock()  # whose question the next line on the control socket answers
        self._abandoned: Abandoned | None = None
        ours, theirs = socket.socketpair()
        self._control = ours
        command = [runtime.python, "-c", START, str(theirs.fileno()), runtime.reference]
        variables = {**runtime.start_variables(), **environment}
        variables.update(folders.told(variables))
        try:
            with log.open("ab") as output:
                # A session of its own: Ctrl-C reaches the scheduler alone, which ends workers in
                # order.
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,  # held open as long as the process is wanted
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
        # Workers that are pinned to no CPUs of their own inherit its mask, which isn't to be that
        # of a harness that keeps off the measured ones.
        pin_process(self._process.pid, allowed_cpus() or ())
        self.ready = False

    def spawn(self, log: Path, timeout_s: float, imports: Sequence[str] = ()) -> Worker:
        """Fork one worker whose output goes to ``log``; each of its answers may take ``timeout_s``.
        Modules of ``imports`` are imported before, once for all workers.

        Raises `WorkerCrashed` when the server or the worker dies at once, and `Abandoned` where an
        earlier fork was not waited for; leaves no worker then.
        """
        ours, theirs = socket.socketpair()
        try:
            with self._turn:
                pid = self._fork(theirs, log, imports)
        except BaseException:
            ours.close()  # one that is forked all the same ends when nobody is there
            raise
        worker = Worker(self, pid, Channel(ours), log, timeout_s)
        try:
            worker.greet()  # which a fresh interpreter does once it has imported the runtime
        except BaseException:
            worker.kill()
            raise
        return worker

    def _fork(self, channel: socket.socket, log: Path, imports: Sequence[str]) -> int:
        """Have a worker forked at the other end of a channel, which is closed here."""
        with channel, log.open("ab") as output:
            if self._abandoned:  # the next process that it tells of would be another's
                raise self._abandoned
            try:
                return self._forked([channel.fileno(), output.fileno()], imports)
            except BaseException as error:
                self._abandoned = Abandoned(error if isinstance(error, BenchError) else None)
                raise

    def _forked(self, descriptors: list[int], imports: Sequence[str]) -> int:
        self._await(lambda: self.ready, _START_TIMEOUT_S)
        self._control.settimeout(_START_TIMEOUT_S)
        try:
            socket.send_fds(
                self._control, [json.dumps({"fork": list(imports)}).encode()], descriptors
            )
        except OSError as error:
            raise self._dead() from error
        self._await(lambda: bool(self._pids), _START_TIMEOUT_S)
        return self._pids.popleft()

    def end_of(self, pid: int, wait_s: float) -> End | None:
        """How a worker ended; None if it has not within ``wait_s`` seconds, as far as is known.
        Whoever waits for a runtime's import meanwhile is not waited for longer than that."""
        began_s = time.monotonic()
        if pid not in self._ended and self._turn.acquire(timeout=wait_s):
            self._hear_of(pid, began_s + wait_s)
        return self._ended.get(pid)

    def end_after_import(self, pid: int, wait_s: float) -> End | None:
        """The same, ``wait_s`` seconds from when nobody waits for an import any more: the server
        takes leave of its workers between imports."""
        if pid not in self._ended and self._turn.acquire(timeout=_FORK_TIMEOUT_S):
            self._hear_of(pid, time.monotonic() + wait_s)
        return self._ended.get(pid)

    def _hear_of(self, pid: int, deadline_s: float) -> None:
        """Hear until it is told that a worker has ended, then pass the turn on."""
        try:
            with contextlib.suppress(OSError, BenchError):
                while pid not in self._ended:
                    self._hear(deadline_s - time.monotonic())
        finally:
            self._turn.release()

    def hang_up(self) -> None:
        """Tell the server to end, and with it every worker that it still has."""
        self._control.close()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def close(self) -> None:
        """Hang up and wait for the end."""
        self.hang_up()
        try:
            self._process.wait(timeout=_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        cap_log(self.log)

    def _await(self, done: Any, timeout_s: float) -> None:
        """Read the server's messages until ``done()``."""
        deadline = time.monotonic() + timeout_s
        while not done():
            try:
                self._hear(deadline - time.monotonic())
            except TimeoutError as error:
                tail = log_tail(self.log)
                text = f"{self.name}: its process did not answer within {timeout_s:.0f} s"
                raise with_log(WorkerTimeout(f"{text}{last_words(tail)}."), tail) from error
            except OSError as error:
                raise self._dead() from error

    def _hear(self, timeout_s: float) -> None:
        """Take what the server says next. Raises `TimeoutError`, and `OSError` where it is gone."""
        self._control.settimeout(max(timeout_s, 1e-6))
        data = self._control.recv(65536)
        if not data:
            raise ConnectionError("it hung up")
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        try:
            for line in lines:
                self._note(json.loads(line))
            if len(self._buffer) > _MOST_LINE_BYTES:
                raise ValueError("a line without an end")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise WorkerCrashed(
                f"{self.name}: the output of its process is not understood ({error!r:.200})."
            ) from error

    def _note(self, message: dict[str, Any]) -> None:
        if "hello" in message:
            runtime = self.runtime
            self.greeting = check_greeting(message, self.name, runtime.python, runtime.interpreter)
        elif "ready" in message:
            self.ready = True
        elif "pid" in message:
            pid = _number(message["pid"])
            self._ended.pop(pid, None)  # of an earlier process of that number
            self._pids.append(pid)
        else:
            used = message.get("cpu_ns")
            self._ended[_number(message["ended"])] = End(
                _number(message["status"]), None if used is None else _number(used)
            )

    def _dead(self) -> BenchError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        how = exit_words(self._process.returncode)
        tail = log_tail(self.log)
        if self.greeting is None:
            said = f"{how}{last_words(tail)}"
            runtime = self.runtime
            return with_log(silent(said, self.name, runtime.python, runtime.interpreter), tail)
        text = f"{self.name}: the process that imports the runtime {how}{last_words(tail)}."
        return with_log(WorkerCrashed(text), tail)


def _number(value: object) -> int:
    """A process, a wait status or a time. Raises `TypeError` for anything else: it would be
    killed."""
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r:.80} is not a process number")
    return value


class Launcher:
    """Fork servers by (adapter, thread count), started when first needed and kept. Threads may ask
    for workers at the same time."""

    def __init__(self, logs: Path, timeout_s: float) -> None:
        self.logs = logs
        self.timeout_s = timeout_s
        self._servers: dict[tuple[str, str, int], ForkServer] = {}
        self._broken: dict[tuple[str, str, int], BenchError] = {}
        self._replaced: list[ForkServer] = []
        self._spawned = 0
        self._turn = threading.RLock()

    def prepare(self, runtime: Runtime, threads: int) -> None:
        """Start a runtime's fork server without waiting, so that runtimes import side by side.

        Why one can't be started is kept for who wants a worker of it.
        """
        key = (runtime.reference, runtime.environment_name, threads)
        with self._turn:
            if key in self._servers or key in self._broken:
                return
            environment = {**thread_environment(threads), **runtime.environment}
            log = self.logs / f"{runtime.label}-{threads}-server.log"
            try:
                self._servers[key] = ForkServer(runtime, environment, log)
            except BenchError as error:
                self._broken[key] = error

    def worker(self, runtime: Runtime, threads: int, imports: Sequence[str] = ()) -> Worker:
        """A fresh worker; ``imports`` as for `ForkServer.spawn`.

        Raises `Unavailable`, `WorkerCrashed` or `WorkerTimeout` when none can be had.
        """
        key = (runtime.reference, runtime.environment_name, threads)
        while True:
            with self._turn:
                self.prepare(runtime, threads)
                if key in self._broken:
                    raise self._broken[key]
                self._spawned += 1
                log = self.logs / f"{runtime.label}-{self._spawned:04d}.log"
                server = self._servers[key]
            try:
                return server.spawn(log, self.timeout_s, imports)
            except BenchError as error:
                self._replace(key, server, error)
                raise
            except Abandoned as by_another:  # thread, while this one waited for its turn
                self._replace(key, server, by_another.why)

    def _replace(
        self, key: tuple[str, str, int], server: ForkServer, error: BenchError | None
    ) -> None:
        """A server that took harm is replaced when the next worker is wanted, but a runtime that
        could not even be imported would fail again, slowly, for each of its cells. Other workers
        of it may live on."""
        with self._turn:
            if self._servers.get(key) is not server:  # another thread has seen to it
                return
            self._replaced.append(self._servers.pop(key))
            if error is not None and not server.ready:
                self._broken[key] = error

    def close(self) -> None:
        # All at once: giving back the memory of a runtime takes the kernel a while.
        servers = [*self._servers.values(), *self._replaced]
        for server in servers:
            server.hang_up()
        for server in servers:
            server.close()
        self._servers.clear()
        self._replaced.clear()


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
