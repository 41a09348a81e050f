"""CUDA's runtime library as ctypes calls it, on a stand-in that is a library itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("standin_cudart.c")
COMPILER = shutil.which("cc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")

#: In a process of its own: a library stays loaded.
BEGIN = """
import ctypes, os, sys
from bench.backends.shared.busy import device_time
from bench.backends.shared.cudart import CudaStream, loaded_cudart
from bench.errors import BenchError
theirs = ctypes.CDLL(sys.argv[1])
cudart = loaded_cudart()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In a folder with a space, as a user's may be."""
    assert COMPILER is not None
    made = tmp_path_factory.mktemp("a folder") / "libcudart.so.12"
    command = [COMPILER, "-shared", "-fPIC", "-O1", "-pthread", "-o", str(made), str(SOURCE)]
    subprocess.run(command, check=True)
    return made


def run(library: Path, script: str) -> str:
    """What a process prints that has loaded the library."""
    command = [sys.executable, "-c", BEGIN + script, str(library)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_stream_sleeps_and_what_comes_behind_it_waits(library: Path) -> None:
    said = run(
        library,
        """
stream = CudaStream(cudart, 0)
assert stream.address > 2**32
before, behind = stream.api.event(), stream.api.event()
before.record()
before.synchronize()
stream.sleep(40)
behind.record()
print(before.query(), behind.query(), theirs.cudaGetLastError(), flush=True)
os._exit(0)  # it is asleep still
""",
    )
    assert said == "True False 0\n"


def test_events_tell_how_long_the_stream_took(library: Path) -> None:
    said = run(
        library,
        """
api = CudaStream(cudart, 0).api
start, end = api.event(), api.event()
start.record()
api.sleep(0.03)
end.record()
api.synchronize()
print(end.query(), start.elapsed_time(end) >= 30)
""",
    )
    assert said == "True True\n"


def test_calls_are_timed_in_the_stream(library: Path) -> None:
    """Each launches 2 ms of work. Whether the host is ahead depends on who else computes here."""
    said = run(
        library,
        """
stream = CudaStream(cudart, 0)
found = device_time(stream.api, lambda: stream.sleep(0.002), 4)
print(found.ns >= 2e6, found.gaps in (True, False))
""",
    )
    assert said == "True True\n"


def test_an_error_is_told_in_cudas_words(library: Path) -> None:
    said = run(
        library,
        """
try:
    CudaStream(cudart, 7)
except BenchError as error:
    print(error)
""",
    )
    words = "no CUDA-capable device is detected (CUDA error 100)"
    assert said == f"cudaSetDevice failed: {words}.\n"
