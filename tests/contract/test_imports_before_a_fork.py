"""The suite notices whichever import of a fork server starts what no worker could use."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.contract.targets import learn_fresh_facts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")

ADAPTERS = """
from bench.backends.onnx_reference import OnnxReference

class First(OnnxReference):
    preload = ("starting_library",)

class Second(OnnxReference):
    preload = ("harmless_library", "starting_library")

class ToLoad(OnnxReference):
    imports_to_load = ("no_such_library_at_all", "starting_library")

class NotForked(ToLoad):
    fork_safe = False
"""
#: At the import of the adapter itself; the others in a module that it names.
ITSELF = """
import starting_library
from bench.backends.onnx_reference import OnnxReference as Itself
"""
STARTING = {
    "adapters_that_import:First": "starting_library",
    "adapters_that_import:Second": "starting_library",
    "adapters_that_import:ToLoad": "starting_library",
    "adapter_that_starts:Itself": "adapter_that_starts",
}
THREAD = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
#: As an import that has brought a driver up: its library is mapped.
DRIVER = """
import mmap
with open({library!r}, "rb") as file:
    MAPPED = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
"""
LOADED = "import ctypes\nLIBRARY = ctypes.CDLL({library!r})\n"


def facts(reference: str, starting: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of an adapter, where ``starting_library`` is of that code."""
    (folder / "harmless_library.py").touch()
    (folder / "starting_library.py").write_text(starting)
    (folder / "adapters_that_import.py").write_text(ADAPTERS)
    (folder / "adapter_that_starts.py").write_text(ITSELF)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    found = learn_fresh_facts(reference, "cpu", {})
    assert found["right"]
    assert found["devices_opened_by"] == {}
    return found


@pytest.mark.parametrize("name", STARTING)
def test_a_thread_is_told_by_what_started_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = facts(name, THREAD, tmp_path, monkeypatch)
    assert found["threads_started_by"] == {STARTING[name]: 1}
    assert found["drivers_started_by"] == {}


@pytest.mark.parametrize("name", STARTING)
def test_a_driver_is_told_by_what_started_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "libcuda.so.1"
    library.write_bytes(b"x" * 5000)
    found = facts(name, DRIVER.format(library=str(library)), tmp_path, monkeypatch)
    assert found["drivers_started_by"] == {STARTING[name]: ["libcuda.so.1"]}
    assert found["threads_started_by"] == {}


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize(("answer", "started"), [(0, True), (3, False), (100, False)])
def test_a_driver_that_is_only_mapped_does_no_harm(
    answer: int, started: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by torch's build for CUDA; it answers that it was not initialized, or finds no device."""
    library = tmp_path / "libcuda.so.1"
    code = f"int cuCtxGetCurrent(void **context) {{ return {answer}; }}"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=code, text=True, check=True)
    found = facts(
        "adapters_that_import:First", LOADED.format(library=str(library)), tmp_path, monkeypatch
    )
    told = {"starting_library": ["libcuda.so.1"]} if started else {}
    assert found["drivers_started_by"] == told


def test_what_no_fork_server_imports_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = facts("adapters_that_import:NotForked", THREAD, tmp_path, monkeypatch)
    assert found["threads_started_by"] == {}
