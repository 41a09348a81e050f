"""The real `bench run` with an Ascend target, in real worker processes on the stand-in."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from warm_bench import WarmBench

from bench.store.run import StoredRun, read_run

SHORT = (
    *("--threads", "1", "--precision", "50%", "--min-invocations", "2", "--max-time", "1"),
    *("--scenario", "single-stream", "--quiet"),
)
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bench_on_ascend(warm_bench: WarmBench, toolkit: dict[str, str], tmp_path: Path) -> Run:
    """The command, on a machine that has the stand-ins."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        log = str(tmp_path / "misuses.log")
        given = {"COLUMNS": "80", "ACL_STAND_IN_LOG": log, **variables}
        return warm_bench.run(arguments, tmp_path, {**os.environ, **toolkit, **given}, timeout=120)

    return run


def only_run(folder: Path) -> StoredRun:
    (path,) = (folder / "results" / "runs").iterdir()
    return read_run(path)


def test_a_target_on_the_stand_in_is_measured_named_as_one_and_left_clean(
    bench_on_ascend: Run, tmp_path: Path, doubling_model: Path
) -> None:
    result = bench_on_ascend(
        "run", "-m", str(doubling_model), "-t", "ascend:npu:0", *SHORT, "--json"
    )
    assert result.returncode == 0, result.stderr
    (record,) = only_run(tmp_path).records
    assert record.status == "ok"
    assert record.parity is not None
    assert record.parity.ok
    assert record.device_name == "StandIn910B4"
    assert record.runtime_version == "0.0.stand-in"
    assert record.placement is not None
    assert record.placement.on_device_share == 1.0
    assert record.placement.precision == "fp32"
    assert all(i.h2d_ns and i.d2h_ns for i in record.invocations)
    (row,) = json.loads(result.stdout)["results"]
    assert record.h2d_ns is not None
    assert record.d2h_ns is not None
    assert (row["h2d_ns"], row["d2h_ns"]) == (record.h2d_ns.value, record.d2h_ns.value)
    lines = (tmp_path / "misuses.log").read_text().splitlines()
    processes = {line.rpartition(" ")[2] for line in lines}
    assert len(processes) >= 3  # the one that probed, and two that measured
    # Each closed what it held and ended there: none finalises, as docs/ascend.md says.
    assert [line for line in lines if not line.startswith("device 0 was reset")] == []


def test_a_model_that_the_device_has_no_memory_for_is_a_typed_failure(
    bench_on_ascend: Run, tmp_path: Path, doubling_model: Path
) -> None:
    arguments = ("run", "-m", str(doubling_model), "-t", "ascend:npu:0", *SHORT)
    result = bench_on_ascend(*arguments, ACL_STAND_IN_MEMORY="100")
    assert result.returncode == 1, result.stderr
    (record,) = only_run(tmp_path).records
    assert record.failure is not None
    assert record.failure.kind == "out-of-memory"
    assert "207001" in record.failure.message
    assert "Traceback" not in result.stdout + result.stderr


def test_an_unknown_option_is_one_failed_row_that_names_the_known_ones(
    bench_on_ascend: Run, tmp_path: Path, doubling_model: Path
) -> None:
    bench_on_ascend("run", "-m", str(doubling_model), "-t", "ascend:npu:0?speed=max", *SHORT)
    (record,) = only_run(tmp_path).records
    assert record.failure is not None
    assert "precision, gears, soc" in record.failure.message


def test_a_compiler_that_hangs_is_a_timeout_and_ends_with_its_worker(
    bench_on_ascend: Run, toolkit: dict[str, str], tmp_path: Path, doubling_model: Path
) -> None:
    atc = tmp_path / "bin" / "atc"
    atc.parent.mkdir()
    atc.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    atc.chmod(0o755)
    path = os.pathsep.join([str(atc.parent), toolkit["PATH"]])
    arguments = ("run", "-m", str(doubling_model), "-t", "ascend:npu:0", *SHORT)
    result = bench_on_ascend(*arguments, "--cell-timeout", "5", PATH=path)
    assert result.returncode == 1
    (record,) = only_run(tmp_path).records
    assert record.failure is not None
    assert record.failure.kind == "timeout"
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/exe").exists()
