"""A run on a machine whose every CPU another program uses: its figures say so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BURN = "import os; os.sched_setaffinity(0, [{}]); print(flush=True)\nwhile True: pass"
SHORT = ("--scenario", "single-stream", "--no-accuracy", "--precision", "50%")
FEW = ("--min-invocations", "2", "--max-invocations", "2", "--max-time", "1")


@pytest.fixture
def neighbours() -> Iterator[int]:
    """A program on each CPU that never rests; how many."""
    cpus = sorted(os.sched_getaffinity(0))
    programs = [
        subprocess.Popen([sys.executable, "-c", BURN.format(cpu)], stdout=subprocess.PIPE)
        for cpu in cpus
    ]
    for program in programs:
        assert program.stdout is not None
        program.stdout.readline()
    yield len(cpus)
    for program in programs:
        program.kill()
        program.communicate()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="needs Linux with schedstat")
def test_a_figure_of_a_shared_cpu_is_marked_and_so_are_threads_that_take_turns(
    bench: Any, tmp_path: Path, doubling_model: Path, neighbours: int
) -> None:
    threads = str(32 * neighbours)
    options = ("--threads", threads, *SHORT, *FEW, "--json")
    result = bench("run", "-m", str(doubling_model), "-t", "stand-in:ok?us=20000", *options)
    assert result.returncode == 0, result.stderr
    (row,) = json.loads(result.stdout)["results"]
    assert "own-cpu" in row["checks_failed"]
    assert f"note: {threads} threads take turns on" in result.stderr
    shown = bench("show", str(next((tmp_path / "results" / "runs").iterdir())))
    words = " ".join(shown.stdout.split())
    assert "2 of 2 invocations shared a CPU with other programs and waited for it" in words
    assert f"{threads} threads took turns on" in words
