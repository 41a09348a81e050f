"""A worker that takes more memory than there is: its row fails, the others are measured."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.store.run import read_run

pytestmark = pytest.mark.faults
SHORT = ("--threads", "1", "--scenario", "single-stream", "--precision", "50%", "--no-accuracy")
FEW = ("--min-invocations", "2", "--max-invocations", "2", "--max-time", "1")
LIMIT_BYTES = 2 << 30
GREEDY = """
import resource
import numpy as np
from stand_in import StandIn
from bench.backend import Device

class Greedy(StandIn):
    name = "greedy"

    def devices(self):
        return [Device(id=name, vendor="nobody", name=name) for name in ("ok", "takes", "asks")]

    def compile(self, model, device, options):
        if device.id == "takes":  # more than the group has: the kernel kills
            taken = [np.ones(1 << 24) for _ in range(32)]
        if device.id == "asks":  # more than the process may map: the runtime is told
            resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))
            np.ones(1 << 35)
        return super().compile(model, Device("ok", "", ""), options)
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A memory cgroup (v1 or v2) below this process's own, where one may be made."""
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().split())
    v1 = "memory" in own
    top = Path("/sys/fs/cgroup/memory" if v1 else "/sys/fs/cgroup")
    folder = top / own.get("memory", own.get("", "/")).lstrip("/") / f"bench-test-{os.getpid()}"
    limit = folder / ("memory.limit_in_bytes" if v1 else "memory.max")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup may be made here: {error}")
    try:
        if not limit.exists():
            pytest.skip("the memory controller is not delegated here")
        limit.write_text(str(LIMIT_BYTES))
        yield folder
    finally:
        folder.rmdir()


def test_a_worker_that_the_kernel_kills_for_memory_is_a_failed_row_and_nothing_is_left(
    environment: dict[str, str], tmp_path: Path, doubling_model: Path, group: Path
) -> None:
    info = tmp_path / "installed" / "greedy-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greedy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bench.backends]\ngreedy = greedy:Greedy\n")
    (info.parent / "greedy.py").write_text(GREEDY)
    targets = [part for name in ("takes", "asks", "ok") for part in ("-t", f"greedy:{name}")]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", "-m", str(doubling_model), *targets, *SHORT, *FEW],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": f"{info.parent}:{environment['PYTHONPATH']}"},
        capture_output=True,
        text=True,
        timeout=240,
        preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    found = {r.cell.target: r for r in read_run(tmp_path / "results").records}
    assert found["greedy:ok"].status == "ok"
    for name in ("takes", "asks"):
        failure = found[f"greedy:{name}"].failure
        assert failure is not None
        assert failure.kind == "out-of-memory", failure
    killed, asked = (found[f"greedy:{name}"].failure for name in ("takes", "asks"))
    assert killed is not None
    assert "out-of-memory killer" in killed.message
    assert asked is not None
    assert "ran out of memory" in asked.message
    deadline = time.monotonic() + 15
    while (group / "cgroup.procs").read_text().strip():
        assert time.monotonic() < deadline, "a process outlives the run"
        time.sleep(0.05)
