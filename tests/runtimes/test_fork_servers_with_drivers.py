"""A fork server in which a preload started a driver forks no worker that would inherit it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from bench.backend import Device, ModelFile, Options
from bench.runtimes.client import Worker
from bench.runtimes.loaded import worker_to_load
from bench.runtimes.processes import Launcher, launcher
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import find_runtime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")

#: Like the real one behind an import of inductor: a library of the driver, and a thread of it.
TRITON = """
import mmap, threading
from pathlib import Path

with open(Path(__file__).parent / "libcuda.so.1", "rb") as file:
    MAPPED = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
ADAPTERS = """
from bench.worker.canary import Canary

class Plain(Canary):
    preload = ()

class WithTriton(Canary):
    preload = ("triton",)

class NotSafe(Canary):
    fork_safe = False
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """On the path of the processes: a package ``triton``, and adapters with and without it."""
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "__init__.py").write_text(TRITON)
    (tmp_path / "triton" / "libcuda.so.1").write_bytes(b"x" * 5000)
    (tmp_path / "adapters_of_drivers.py").write_text(ADAPTERS)
    return tmp_path


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Launcher]:
    with launcher(tmp_path / "logs", timeout_s=60) as started:
        yield started


def mapped(pid: int) -> bool:
    return "libcuda.so.1" in Path(f"/proc/{pid}/maps").read_text()


def is_fresh(worker: Worker) -> bool:
    return "--worker" in psutil.Process(worker.pid).cmdline()


def server_of(worker: Worker) -> psutil.Process:
    found = psutil.Process(worker.pid).parent()
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "fresh"), [("Plain", False), ("WithTriton", True), ("NotSafe", True)]
)
def test_workers_are_fresh_interpreters_where_a_fork_would_not_do(
    name: str, fresh: bool, folder: Path, processes: Launcher
) -> None:
    reference = f"adapters_of_drivers:{name}"
    runtime = Runtime(name.lower(), reference, {"PYTHONPATH": str(folder)})
    worker = processes.worker(runtime, 1)
    assert is_fresh(worker) == fresh
    assert mapped(server_of(worker).pid) == (name == "WithTriton")
    worker.load(ModelFile("canary"), Device("cpu", "", ""), Options())
    worker.bind({})
    assert worker.warm_up(1.0).calls >= 5


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
def test_the_server_of_torch_compile_starts_no_driver_where_triton_is_installed(
    folder: Path, processes: Launcher
) -> None:
    """With all that it imports for a worker that is to load a model."""
    found = find_runtime("torch-compile")
    assert found.imports_to_load
    environment = {**found.environment, "PYTHONPATH": str(folder)}
    runtime = replace(found, environment=environment)
    worker = worker_to_load(processes, runtime, 1, ModelFile("net"))
    server = server_of(worker)
    assert not mapped(server.pid)
    assert server.num_threads() == 1
    assert not is_fresh(worker)
