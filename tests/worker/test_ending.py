"""How a fork server ends, and what it tells of workers that did."""

from __future__ import annotations

import json
import os
import signal
import socket

import pytest
from bench.backends.onnx_reference import OnnxReference

from bench.worker import __main__ as fork_server
from bench.worker.__main__ import Server


def test_a_scheduler_that_is_gone_is_no_error_of_the_server() -> None:
    """Else a traceback of bench's own ends the log of a backend that failed."""
    scheduler, control = socket.socketpair()
    server = Server(control, OnnxReference(), forks=True)
    control.sendall(b'{"pid": 1}\n')  # never read
    scheduler.close()
    assert server.accept() is False


def test_a_worker_that_ended_is_told_with_its_time_and_its_group_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its group alone: its own number may be another process's as soon as it is waited for."""
    scheduler, control = socket.socketpair()
    server = Server(control, OnnxReference(), forks=True)
    server.children = {77, 78}
    waited = iter([(77, 9), (0, 0)])
    ended: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "waitpid", lambda pid, options: next(waited))
    monkeypatch.setattr(os, "killpg", lambda *group: ended.append(group))
    monkeypatch.setattr(os, "kill", lambda *process: pytest.fail("another process is ended"))
    monkeypatch.setattr(fork_server, "cpu_ns", lambda pid: 1000 * pid)
    server.reap()
    assert json.loads(scheduler.recv(4096)) == {"ended": 77, "status": 9, "cpu_ns": 77_000}
    assert ended == [(77, signal.SIGKILL)]
    assert server.children == {78}
