"""A fork server: import one runtime, create no session, fork a worker for each request.

    python -m bench.worker CONTROL_FD MODULE:CLASS

Each request on the control socket, ``{"fork": [modules]}``, carries two file descriptors: the new
worker's channel and its log. The modules are imported before the first fork that asks for them. The
server answers ``{"pid": ...}``, and later ``{"ended": pid, "status": ..., "cpu_ns": ...}`` with the
wait status that `os.waitstatus_to_exitcode` understands and the CPU time that it used until then.
Where a runtime can't live through a fork, or an import has started threads or a device's driver,
the child starts a fresh interpreter instead (``--worker``).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any, NoReturn

from bench.backend import Backend
from bench.worker import START
from bench.worker.family import cpu_ns, die_with_parent, end_group, end_members
from bench.worker.started import Started
from bench.worker.wire import Channel
from bench.worker.work import serve


def main() -> None:
    if sys.argv[1] == "--worker":
        serve(Channel(socket.socket(fileno=int(sys.argv[2]))), _import_backend(sys.argv[3]))
        _leave(0)
    control = socket.socket(fileno=int(sys.argv[1]))
    before = Started.now()
    backend = _import_backend(sys.argv[2])
    _send(control, {"ready": True})
    Server(control, backend, forks=backend.fork_safe and Started.now() == before).run()


def _import_backend(reference: str) -> Backend:
    """The adapter, and what it wants loaded before the fork.

    A runtime that isn't installed is no error here: the first request will say what is missing.
    """
    module, _, name = reference.partition(":")
    backend: Backend = getattr(importlib.import_module(module), name)()
    for preload in backend.preload:
        try:
            importlib.import_module(preload)
        except Exception:
            traceback.print_exc()
    return backend


def _leave(code: int) -> NoReturn:
    """End the process without the runtime's own end.

    Destructors of a runtime inherited through fork may hang or crash. And what a runtime does when
    the interpreter ends would race the scheduler, which kills a worker that has closed its session.
    """
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    control.sendall(json.dumps(message).encode() + b"\n")


class Server:
    """Forks workers and reaps them."""

    def __init__(self, control: socket.socket, backend: Backend, *, forks: bool) -> None:
        self.control = control
        self.backend = backend
        self.children: set[int] = set()
        self.imported: set[str] = set()
        self.forks = forks

    def run(self) -> None:
        """Until the scheduler closes the control socket; then no worker is left behind."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        waiting = select.poll()  # the scheduler's number of the socket may be above 1023
        for descriptor in (self.control.fileno(), wake_read):
            waiting.register(descriptor, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in waiting.poll()]
            if wake_read in ready:
                os.read(wake_read, 4096)
                self.reap()
            if self.control.fileno() in ready and not self.accept():
                break
        for pid in self.children:
            end_group(pid)
        # Nothing is left to tidy up, and unloading a runtime takes up to half a second.
        os._exit(0)

    def accept(self) -> bool:
        """Fork one worker; False when the scheduler is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, 65536, 2)
        except ConnectionError:  # it went without reading all that it was told
            return False
        if not data:
            return False
        channel_fd, log_fd = descriptors
        self.preload(json.loads(data)["fork"])
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            # A session of its own, so that it can be ended with all that it starts.
            os.setsid()
            die_with_parent(server)
            self.become_worker(channel_fd, log_fd)
        os.close(channel_fd)
        os.close(log_fd)
        self.children.add(pid)
        _send(self.control, {"pid": pid})
        return True

    def preload(self, modules: list[str]) -> None:
        """Import what the next worker needs to load a model, once for all workers.

        What can't be imported is left to the worker, which says so. Where an import starts what
        can't be used in a child, nothing is forked from then on.
        """
        if not self.forks:
            return
        for name in modules:
            if name not in self.imported:
                self.imported.add(name)
                before = Started.now()
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
                self.forks = self.forks and Started.now() == before

    def become_worker(self, channel_fd: int, log_fd: int) -> None:
        """In the child: never returns."""
        code = 0
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.control.close()
            # Runtimes print the true cause of a failure on descriptor 2 alone.
            os.dup2(log_fd, 1)
            os.dup2(log_fd, 2)
            os.close(log_fd)
            if not self.forks:
                os.set_inheritable(channel_fd, True)
                again = [sys.executable, "-c", START, "--worker", str(channel_fd)]
                os.execv(sys.executable, [*again, sys.argv[2]])
            serve(Channel(socket.socket(fileno=channel_fd)), self.backend)
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            _leave(code)

    def reap(self) -> None:
        """Take leave of every worker that ended, and tell how it did."""
        while self.children:
            used_ns = {pid: cpu_ns(pid) for pid in self.children}  # nobody knows it afterwards
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.children.discard(pid)
            end_members(pid)  # what it started and left behind
            _send(self.control, {"ended": pid, "status": status, "cpu_ns": used_ns.get(pid)})


if __name__ == "__main__":
    main()
