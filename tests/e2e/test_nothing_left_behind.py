"""No process outlives a run, however the run ends and whatever its workers have started.

Every process of a run inherits a variable with a value of its own, so the test finds them all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

SHORT = ("--threads", "1", "--scenario", "single-stream", "--precision", "50%", "--no-accuracy")
FEW = ("--min-invocations", "2", "--max-invocations", "2", "--max-time", "1", "--quiet")
KINDS = {"plain", "own session", "forked", "daemon"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's prctl")

Start = Callable[..., "subprocess.Popen[str]"]


def installed(folder: Path) -> Path:
    """A folder that installs the backends of `prolific`, which no other test should look for."""
    info = folder / "installed" / "prolific-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: prolific\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[bench.backends]\nprolific = prolific:Prolific\nstuck = prolific:Stuck\n"
    )
    return info.parent


class Family:
    """The processes of one run, found by a variable that all inherit."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.token = uuid.uuid4().hex
        self.log = folder / "prolific.log"
        self.environment = environment | {
            "PYTHONPATH": f"{installed(folder)}{os.pathsep}{environment['PYTHONPATH']}",
            "FAMILY_TOKEN": self.token,
            "PROLIFIC_LOG": str(self.log),
        }

    def noted(self) -> set[str]:
        return set(self.log.read_text().splitlines()) if self.log.exists() else set()

    def wait_for(self, noted: set[str]) -> None:
        deadline = time.monotonic() + 60
        while not noted <= self.noted():
            assert time.monotonic() < deadline, f"only {self.noted()} started within a minute"
            time.sleep(0.02)

    def alive(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("FAMILY_TOKEN") == self.token
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def assert_gone(self) -> None:
        deadline = time.monotonic() + 15
        while left := self.alive():
            assert time.monotonic() < deadline, [(p.pid, p.cmdline()) for p in left]
            time.sleep(0.05)


@pytest.fixture
def family(environment: dict[str, str], tmp_path: Path) -> Iterator[Family]:
    made = Family(environment, tmp_path)
    yield made
    for process in made.alive():
        process.kill()


@pytest.fixture
def start(family: Family, tmp_path: Path, doubling_model: Path) -> Start:
    def run(*targets: str) -> subprocess.Popen[str]:
        named = [part for target in targets for part in ("-t", target)]
        return subprocess.Popen(
            [sys.executable, "-m", "bench", "run", "-m", str(doubling_model), *named, *SHORT, *FEW],
            cwd=tmp_path,
            env=family.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # What a script starts in the background ignores SIGINT, and so would what this starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return run


def test_a_run_that_ends_and_cells_that_fail_leave_nothing(family: Family, start: Start) -> None:
    process = start("prolific:ok", "prolific:fails")
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 1, stderr
    assert "no kernel for anything" in " ".join(stdout.split())
    assert family.noted() == KINDS
    family.assert_gone()


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.faults),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_ended_leaves_nothing(
    family: Family, start: Start, number: signal.Signals
) -> None:
    process = start("prolific:ok?us=200000")
    family.wait_for(KINDS)
    assert len(family.alive()) > len(KINDS)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == (-number if number is signal.SIGKILL else 130), stderr
    family.assert_gone()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_while_a_runtime_hangs_in_its_import_leaves_nothing(
    family: Family, start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    process = start("stuck:ok")
    family.wait_for({"importing"})
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == (-number if number is signal.SIGKILL else 130), stderr
    family.assert_gone()


@pytest.mark.slow
def test_a_server_that_is_killed_takes_its_workers_and_theirs_along(
    family: Family, start: Start
) -> None:
    process = start("prolific:ok?us=200000")
    family.wait_for(KINDS)
    (worker,) = {p.ppid() for p in family.alive() if p.name() == "sleep"}
    psutil.Process(worker).parent().kill()
    process.communicate(timeout=60)
    assert process.returncode == 1
    family.assert_gone()
