"""Local nodes of Ray, each a raylet of its own with its own environment, stopped by their ids."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

#: What docs/fleet.md has whoever starts a node set.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",
    "RAY_memory_monitor_refresh_ms": "0",
}
#: So that a dead node is known as dead within a test.
HASTY = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "1000",
}


class LocalNode:
    """One `ray start --block`, on an address of its own of the loopback network."""

    def __init__(
        self, folder: Path, number: int, port: int, environment: Mapping[str, str]
    ) -> None:
        self.name, self.number = f"n{number}", number
        self.folder = folder / self.name
        self.folder.mkdir(parents=True)
        self.cache = self.folder / "cache"
        head = ["--head", f"--port={port}", "--include-dashboard=false"]
        member = [f"--address=127.0.0.1:{port}"]
        # The path of a socket has at most 107 bytes (unix(7)), and pytest's folders are long.
        self.temporary = Path(f"/tmp/bench-ray-{os.getpid()}-{port}-{number}")
        log = (self.folder / "ray.log").open("wb")
        self.process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("ray")),
                "start",
                *(head if number == 1 else member),
                f"--node-ip-address=127.0.0.{number}",
                "--num-cpus=1",
                "--num-gpus=0",
                f"--resources={json.dumps({self.name: 1})}",
                "--object-store-memory=80000000",
                f"--temp-dir={self.temporary}",
                "--include-log-monitor=false",
                "--block",
            ],
            env={**environment, **QUIET, **HASTY, "BENCH_CACHE": str(self.cache)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=self.folder,
        )

    @property
    def family(self) -> list[psutil.Process]:
        """All that runs below the node's `ray start`."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def one(self, words: str) -> psutil.Process:
        """The one process below it whose command line begins so."""
        found = [p for p in self.family if words in " ".join(p.cmdline())]
        assert found, f"{self.name} has no {words}"
        return found[0]

    def wait(self) -> None:
        """Until it has joined."""
        deadline = time.monotonic() + 60
        while b"Ray runtime started" not in (self.folder / "ray.log").read_bytes():
            assert time.monotonic() < deadline, (self.folder / "ray.log").read_text()
            time.sleep(0.1)

    def end(self) -> None:
        """Everything of the node, at once."""
        family = self.family
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.kill()
        self.process.wait()
        psutil.wait_procs(family, timeout=10)
        shutil.rmtree(self.temporary, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def local_nodes(
    folder: Path, environments: Sequence[Mapping[str, str]]
) -> Iterator[tuple[str, list[LocalNode]]]:
    """The address of a cluster and its nodes, one for each environment, the head first."""
    port = free_port()
    nodes: list[LocalNode] = []
    try:
        for number, environment in enumerate(environments, start=1):
            nodes.append(LocalNode(folder, number, port, environment))
            if number == 1:
                _wait_for(port)
        for node in nodes:
            node.wait()
        yield f"127.0.0.1:{port}", nodes
    finally:
        for node in reversed(nodes):
            node.end()


def _wait_for(port: int) -> None:
    """Until the head answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise AssertionError("ray did not start within a minute")
