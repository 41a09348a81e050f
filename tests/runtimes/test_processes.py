"""Processes: what happens to a worker becomes a typed error that says so."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from bench.errors import BenchError, OutOfMemory, WorkerCrashed, WorkerTimeout
from bench.measure.group import CANARY_RUNTIME
from bench.runtimes.client import Worker
from bench.runtimes.probe import probe
from bench.runtimes.processes import Launcher, launcher
from bench.runtimes.runtime import Runtime

LOAD = {
    "model": {"name": "canary"},
    "device": {"id": "cpu", "vendor": "", "name": ""},
    "options": {"threads": 1, "allow_fallback": False, "shapes": {}, "extra": {}},
    "cpus": [],
}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Launcher]:
    with launcher(tmp_path / "logs", timeout_s=20) as started:
        yield started


@pytest.fixture
def worker(processes: Launcher) -> Worker:
    return processes.worker(CANARY_RUNTIME, 1)


def test_a_worker_loads_binds_and_times_blocks(worker: Worker) -> None:
    load, _ = worker.request("load", **LOAD)
    assert load["load_ns"] > 0
    worker.request("bind", names=[], lane="prepared")
    warmup, _ = worker.request("warm-up", budget_s=1.0)
    assert warmup["calls"] >= 5
    _, (latency_ns,) = worker.request("block", calls=7, discard=2)
    assert latency_ns.shape == (7,)
    assert latency_ns.dtype == np.int64
    assert (latency_ns > 0).all()


def test_a_worker_killed_from_outside_is_reported_as_out_of_memory(worker: Worker) -> None:
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(OutOfMemory, match="out-of-memory killer"):
        worker.request("memory")


def test_a_segfault_is_named(worker: Worker) -> None:
    os.kill(worker.pid, signal.SIGSEGV)
    with pytest.raises(WorkerCrashed, match="SIGSEGV"):
        worker.request("memory")


def test_a_worker_that_hangs_is_killed_in_time(worker: Worker) -> None:
    os.kill(worker.pid, signal.SIGSTOP)
    worker.timeout_s = 0.2
    with pytest.raises(WorkerTimeout, match="--cell-timeout"):
        worker.request("memory")
    _wait_until_gone(worker.pid)


def test_requests_out_of_order_are_errors_and_the_worker_lives_on(worker: Worker) -> None:
    with pytest.raises(BenchError, match="no input is bound"):
        worker.request("block", calls=1, discard=0)
    assert worker.request("memory")[0]["peak_rss_bytes"] > 0


def test_a_dead_server_fails_its_worker_and_is_replaced(processes: Launcher) -> None:
    first = processes.worker(CANARY_RUNTIME, 1)
    server = psutil.Process(first.pid).parent()
    assert server is not None
    server.kill()
    server.wait(5)
    with pytest.raises(WorkerCrashed):
        processes.worker(CANARY_RUNTIME, 1)
    assert probe(processes.worker(CANARY_RUNTIME, 1))[0] == "1"


def test_an_adapter_that_cannot_be_imported_fails_once_and_fast(processes: Launcher) -> None:
    broken = Runtime("broken", "no_such_module:Backend", {})
    for _ in range(2):
        with pytest.raises(WorkerCrashed, match="No module named 'no_such_module'"):
            processes.worker(broken, 1)


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    with launcher(tmp_path / "logs", timeout_s=20) as processes:
        workers = [processes.worker(CANARY_RUNTIME, 1) for _ in range(3)]
    for worker in workers:
        _wait_until_gone(worker.pid)


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)
