"""Processes of the real command that are forked from one that has imported bench already.

Importing what a command needs takes over a second of CPU, and the tests run hundreds of commands.
Each still has a process of its own: its arguments, environment, folder, output and exit code. What
is about the start of a process takes `[sys.executable, "-m", "bench"]`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

#: What commands import; importing these imports most of the rest.
IMPORTED = (
    "bench.__main__",
    "bench.commands.compare",
    "bench.commands.deal",
    "bench.commands.gate",
    "bench.commands.debug.lineage",
    "bench.commands.run",
    "bench.commands.show",
    "bench.measure.prepare",
    "bench.measure.run",
    "bench.present.compare",
    "bench.present.deal",
    "bench.present.gate",
    "bench.present.results",
    "bench.judge.lineage",
    "onnx",
    "onnx.reference",
    "pyarrow.parquet",
)


class WarmBench:
    """Starts commands, one at a time, in forks of a process that has imported bench."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        # A path that was given belongs to a command, not to what all are forked from.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def run(
        self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """What `subprocess.run` does, with captured text."""
        command = [sys.executable, "-m", "bench", *arguments]
        if _starts_otherwise(env):
            return subprocess.run(
                command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout
            )
        with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
            asked = {
                "arguments": list(arguments), "cwd": str(cwd), "env": dict(env),
                "stdout": out.name, "stderr": err.name,
            }  # fmt: skip
            self._socket.sendall(json.dumps(asked).encode() + b"\n")
            pid = self._answer(timeout=60)
            try:
                code = self._answer(timeout)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self._answer(timeout=60)
                raise subprocess.TimeoutExpired(command, timeout) from None
            return subprocess.CompletedProcess(command, code, out.read(), err.read())

    def _answer(self, timeout: float) -> int:
        self._socket.settimeout(timeout)
        line = b""
        while not line.endswith(b"\n"):
            if not (more := self._socket.recv(1)):
                raise RuntimeError("the process that commands are forked from has ended")
            line += more
        self._socket.settimeout(None)
        return int(line)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


def _starts_otherwise(env: Mapping[str, str]) -> bool:
    """Whether a variable is set that Python reads once, at its start."""
    read_at_start = {
        name
        for name in (*env, *os.environ)
        if name.startswith(("PYTHON", "LC_", "LANG")) and name != "PYTHONPATH"
    }
    return any(env.get(name) != os.environ.get(name) for name in read_at_start)


def _serve(connection: socket.socket) -> dict[str, object] | None:
    """Fork for each command that is asked for; returns what was asked, in the fork."""
    asked = connection.makefile("r")
    for line in asked:
        pid = os.fork()
        if not pid:
            connection.detach()
            return json.loads(line)
        connection.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    return None


def _become(asked: dict[str, object], inherited: int) -> None:
    """Make of this process what ``python -m bench`` would be."""
    os.close(inherited)
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(str(asked[name]), os.O_WRONLY)
        os.dup2(file, number)
        os.close(file)
    os.chdir(str(asked["cwd"]))
    os.environ.clear()
    os.environ.update(asked["env"])  # type: ignore[call-overload]
    path = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    sys.path[:] = [os.getcwd(), *path, *sys.path[1:]]
    import bench.__main__

    sys.argv = [str(bench.__main__.__file__), *asked["arguments"]]  # type: ignore[misc]


if __name__ == "__main__":
    number = int(sys.argv[1])
    sys.path[0] = os.devnull  # the folder of the tests, which a command doesn't have
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    asked = _serve(socket.socket(fileno=number))
    if asked is not None:
        _become(asked, number)
        from bench.__main__ import main

        sys.exit(main())
