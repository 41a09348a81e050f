"""How a fork server ends."""

from __future__ import annotations

import socket

from bench.backends.onnx_reference import OnnxReference

from bench.worker.__main__ import Server


def test_a_scheduler_that_is_gone_is_no_error_of_the_server() -> None:
    """Else a traceback of bench's own ends the log of a backend that failed."""
    scheduler, control = socket.socketpair()
    server = Server(control, OnnxReference(), forks=True)
    control.sendall(b'{"pid": 1}\n')  # never read
    scheduler.close()
    assert server.accept() is False
