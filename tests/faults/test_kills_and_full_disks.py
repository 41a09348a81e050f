"""Faults by real means that take long: `make faults` runs them."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.store.run import read_run

pytestmark = pytest.mark.faults
SHORT = ("--threads", "1", "--precision", "50%", "--min-invocations", "3", "--max-time", "2")
TARGETS = ("-t", "stand-in:ok?us=20", "-t", "stand-in:ok?us=21")


def start(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", "run", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_that_is_killed_again_and_again_ends_with_each_record_once(
    environment: dict[str, str], tmp_path: Path, doubling_model: Path
) -> None:
    moments = random.Random(13)
    arguments: tuple[str, ...] = ("-m", str(doubling_model), *TARGETS, *SHORT)
    for _ in range(20):
        process = start(environment, tmp_path, *arguments)
        time.sleep(moments.uniform(0.5, 8))
        process.kill()
        process.communicate()
        if list(tmp_path.glob("results/runs/*/run.json")):
            arguments = ("--resume", "results")
    process = start(environment, tmp_path, *arguments)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    stored = read_run(tmp_path / "results")
    assert Counter(r.cell_id for r in stored.records) == Counter(c.id for c in stored.header.cells)
    for record in stored.records:
        assert record.status == "ok"
        assert set(stored.samples(record.cell_id)) >= {i.index for i in record.invocations}
    for command in (("publish", "results", "-o", "published"), ("publish", "--check", "published")):
        done = subprocess.run(
            [sys.executable, "-m", "bench", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 192 KiB in memory, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_run_on_a_disk_that_fills_goes_on_when_there_is_room(
    environment: dict[str, str], tmp_path: Path, doubling_model: Path, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * 120_000)
    arguments = ("-m", str(doubling_model), *TARGETS, *SHORT, "--results", str(small_disk / "r"))
    process = start(environment, tmp_path, *arguments)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 1, stderr
    assert "Traceback" not in stderr
    assert "No space left on device" in stderr
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    process = start(environment, tmp_path, "--resume", str(small_disk / "r"))
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    stored = read_run(small_disk / "r")
    assert len(stored.records) == len(stored.header.cells)
