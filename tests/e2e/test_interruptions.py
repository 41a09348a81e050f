"""Runs that end before their time: nothing measured is lost, and they can be gone on with."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.store.derive import derived
from bench.store.run import StoredRun, read_run

SHORT = ("--threads", "1", "--precision", "50%", "--min-invocations", "2", "--max-time", "1")
FAST, SLOW = "stand-in:ok?us=20", "stand-in:ok?us=21"
#: More invocations than any test waits for.
MANY = ("--min-invocations", "900", "--max-invocations", "1000", "--max-time", "300")
LONG = ("--threads", "1", "--scenario", "single-stream", *MANY)


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start `bench` without waiting for it."""

    def run(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "bench", *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # What a script starts in the background ignores SIGINT, and so would what this starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return run


def run_folder(folder: Path) -> Path:
    (path,) = (folder / "results" / "runs").iterdir()
    return path


def wait_for_invocations(folder: Path, count: int) -> Path:
    """The run's folder once so many invocations are on the disk."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        files = list(folder.glob("results/runs/*/invocations.jsonl"))
        if files and files[0].read_bytes().count(b"\n") >= count:
            return files[0].parent
        time.sleep(0.02)
    raise AssertionError("the run measured nothing within a minute")


def shorten(path: Path) -> None:
    """Let a resumed run be content with less, as if the suite had asked for it."""
    header = path / "run.json"
    text = header.read_text()
    changed = text.replace('"min_invocations": 900', '"min_invocations": 2')
    assert changed != text
    header.write_text(changed)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        # The same way out, whose other tests are quicker.
        pytest.param(signal.SIGTERM, marks=pytest.mark.faults),
    ],
)
def test_an_interrupted_run_keeps_what_it_has_and_goes_on(
    start: Any, bench: Any, tmp_path: Path, doubling_model: Path, number: signal.Signals
) -> None:
    process = start("run", "-m", str(doubling_model), "-t", FAST, "-t", SLOW, *LONG)
    wait_for_invocations(tmp_path, 4)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    path = run_folder(tmp_path)
    assert process.returncode == 130, stderr
    assert f"bench run --resume {path.relative_to(tmp_path)}" in stderr
    assert "interrupted after" in stderr
    assert "finished after" not in stderr
    assert "Traceback" not in stderr
    before = read_run(path).invocations
    assert len(before) >= 4
    _assert_partial(read_run(path), stdout)

    shorten(path)
    renamed = bench("run", "--resume", str(path), "--label", "other")
    assert (renamed.returncode, "keeps its label" in renamed.stderr) == (2, True)
    resumed = bench("run", "--resume", str(path))
    assert resumed.returncode == 0, resumed.stderr
    stored = read_run(path)
    assert len(stored.records) == 2
    for record in stored.records:
        assert not record.partial
        kept = [i for i in before if i.cell_id == record.cell_id]
        assert list(record.invocations[: len(kept)]) == kept

    records = (path / "records.jsonl").read_bytes()
    again = bench("run", "--resume", str(path))
    assert again.returncode == 0
    assert "nothing is left to measure" in again.stderr
    assert (path / "records.jsonl").read_bytes() == records, "a finished cell was measured again"


def _assert_partial(stored: StoredRun, table: str) -> None:
    """Every cell has a row that says how far it got, and its record follows from the raw data."""
    assert [record.standing for record in stored.records] == ["partial", "partial"]
    again = derived(stored)
    assert (again.problems, again.run.records) == ([], stored.records)
    assert table.count(", partial") == 2
    for record in stored.records:
        have = len(record.invocations)
        assert have == sum(one.cell_id == record.cell_id for one in stored.invocations)
        said = f"stopped early by Ctrl-C or SIGTERM after {have} of at least 900 invocations"
        assert said in " ".join(table.split())


@pytest.mark.slow
def test_a_killed_run_leaves_no_worker_and_can_be_resumed(
    start: Any, bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    process = start("run", "-m", str(doubling_model), "-t", FAST, "-t", SLOW, *LONG)
    path = wait_for_invocations(tmp_path, 2)
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    (path / "invocations.jsonl").open("ab").write(b'{"cell_id": "cut in the mid')
    shorten(path)
    resumed = bench("run", "--resume", str(path))
    assert resumed.returncode == 0, resumed.stderr
    assert len(read_run(path).records) == 2


def test_two_processes_cannot_write_one_run(
    start: Any, bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    process = start("run", "-m", str(doubling_model), "-t", FAST, *LONG)
    try:
        path = wait_for_invocations(tmp_path, 1)
        second = bench("run", "--resume", str(path))
        assert second.returncode == 2
        assert "another bench process is writing this run" in second.stderr
    finally:
        process.kill()
        process.communicate()


@pytest.mark.faults  # `tests/store/test_store_faults.py` has the quick one
def test_a_full_disk_is_one_sentence_and_earlier_records_stay(
    environment: dict[str, str], tmp_path: Path, doubling_model: Path
) -> None:
    """A limit on file sizes stands in for the disk: writing fails in the middle of a run."""
    limit = 25_000

    def cap() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    result = subprocess.run(
        [sys.executable, "-m", "bench", "run", "-m", str(doubling_model), "-t", FAST, *LONG],
        cwd=tmp_path,
        # Python would put what fits of a .pyc where everybody reads it.
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        preexec_fn=cap,
    )
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert "writing failed" in result.stderr
    assert "--resume" in result.stderr
    path = run_folder(tmp_path)
    assert len(read_run(path).invocations) >= 2
    assert os.path.getsize(path / "invocations.jsonl") <= limit
