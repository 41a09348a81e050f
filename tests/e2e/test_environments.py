"""Runs whose targets live in different interpreters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import pytest
from interpreters import bare_python, python_with_numpy

Bench = Callable[..., "subprocess.CompletedProcess[str]"]

QUICK = (
    "--scenario",
    "single-stream",
    "--max-time",
    "2",
    "--min-invocations",
    "2",
    "--no-accuracy",
)


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, dict]:
    """The rows of `--json` by target."""
    assert done.stdout, done.stderr
    return {row["target"]: row for row in json.loads(done.stdout)["results"]}


def stored(tmp_path: Path) -> tuple[dict, dict[str, dict]]:
    """Header and records by target of the one run in the folder."""
    (run,) = (tmp_path / "results" / "runs").iterdir()
    lines = (run / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    header = json.loads((run / "run.json").read_text())
    return header, {record["cell"]["target"]: record for record in records}


def test_targets_of_two_interpreters_are_measured_side_by_side(
    bench: Bench, doubling_model: Path, tmp_path: Path
) -> None:
    python = python_with_numpy(tmp_path / "side")
    (tmp_path / "bench.toml").write_text(
        '[machine]\nname = "gpu-server"\n'
        f'[environments.side]\nbackend = "stand-in"\npython = "{python}"\n'
    )
    done = bench(
        "run", "-m", str(doubling_model), *QUICK, "--json", "--label", "by night",
        *("-t", "stand-in:ok", "-t", "stand-in@side:ok", "-t", "stand-in@side:segfaults"),
    )  # fmt: skip
    found = rows(done)
    assert found["stand-in:ok"]["status"] == found["stand-in@side:ok"]["status"] == "ok"
    assert found["stand-in:ok"]["cell_id"] != found["stand-in@side:ok"]["cell_id"]
    assert found["stand-in@side:segfaults"]["failure_kind"] == "crashed"
    assert "stand-in@side: the worker died of SIGSEGV" in str(found["stand-in@side:segfaults"])

    header, records = stored(tmp_path)
    assert (header["machine_name"], header["label"]) == ("gpu-server", "by night")
    assert header["environments"]["side"]["numpy"] == numpy.__version__
    assert records["stand-in:ok"]["environment"] is None
    assert records["stand-in@side:ok"]["environment"] == {
        "name": "side",
        "python": sys.version.split()[0],
        "numpy": numpy.__version__,
    }
    assert records["stand-in:ok"]["group"] == records["stand-in@side:ok"]["group"]


def test_an_environment_that_is_broken_fails_its_cells_and_the_run_goes_on(
    bench: Bench, doubling_model: Path, tmp_path: Path
) -> None:
    bare = bare_python(tmp_path / "bare")
    (tmp_path / "fails.sh").write_text("echo no toolkit >&2; return 1\n")
    (tmp_path / "bench.toml").write_text(
        f'[environments.bare]\nbackend = "stand-in"\npython = "{bare}"\n'
        f'[environments.script]\nbackend = "stand-in"\npython = "{bare}"\nsetup = "fails.sh"\n'
        '[environments.gone]\nbackend = "stand-in"\npython = "/nowhere/python"\n'
    )
    places = ("bare", "script", "gone")
    named = [word for place in places for word in ("-t", f"stand-in@{place}:ok")]
    done = bench("run", "-m", str(doubling_model), *QUICK, "--json", "-t", "stand-in:ok", *named)
    assert done.returncode == 1
    found = rows(done)
    assert found["stand-in:ok"]["status"] == "ok"
    messages = [found[f"stand-in@{place}:ok"]["failure_message"] for place in places]
    for message, words in zip(
        messages,
        ("can't import numpy", "failed with exit code 1 (no toolkit)", "does not exist"),
        strict=True,
    ):
        assert words in message
        assert "\n" not in message


def test_an_unknown_environment_or_one_for_another_backend_is_refused_before_measuring(
    bench: Bench, doubling_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "bench.toml").write_text(
        '[environments.side]\nbackend = "stand-in"\npython = "python3"\n'
    )
    for target, words in (
        ("stand-in@sied:ok", "Did you mean side?"),
        ("onnxruntime@side:cpu", "the environment side is for stand-in, not for onnxruntime"),
    ):
        done = bench("run", "-m", str(doubling_model), "-t", target, "--quiet")
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def cann(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of environments with the real onnxruntime-cann; made once, from the registry."""
    folder = tmp_path_factory.mktemp("environments")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "env", "create", "onnxruntime-cann"],
        env={**os.environ, "BENCH_ENVIRONMENTS": str(folder), "PIP_RETRIES": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if "the package index can't be reached" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder)


@pytest.mark.long
def test_two_flavours_of_one_runtime_are_compared_in_one_run_and_no_cpu_is_called_an_npu(
    bench: Bench, environment: dict[str, str], cann: Path, tmp_path: Path
) -> None:
    """onnxruntime-cann lists its provider where CANN is missing, and runs on the CPU in silence."""
    environment["BENCH_ENVIRONMENTS"] = str(cann)
    targets = (
        *("onnxruntime:cpu", "onnxruntime@onnxruntime-cann:cpu"),
        *("onnxruntime:cann", "onnxruntime@onnxruntime-cann:cann:0"),
    )
    named = [word for target in targets for word in ("-t", target)]
    done = bench("run", "-m", "fashion-student", *named, *QUICK, "--json", timeout=300)
    found = rows(done)
    assert set(found) == set(targets)
    here, there, *npus = (found[target] for target in targets)
    assert here["status"] == there["status"] == "ok"
    assert there["runtime_version"] == "1.24.4" != here["runtime_version"]
    assert "parity" not in here["checks_failed"] + there["checks_failed"]
    for npu in npus:
        assert npu["status"] == "failed"
        assert npu["failure_kind"] == "unavailable"
        assert "libascendcl.so: cannot open shared object file" in npu["failure_message"]
        assert npu["median_ns"] is None
        assert npu["device_name"] == ""
    header, records = stored(tmp_path)
    assert header["environments"]["onnxruntime-cann"]["onnxruntime-cann"] == "1.24.4"
    assert records[targets[1]]["environment"]["numpy"].startswith("1.")

    doctor = json.loads(bench("doctor", "--json").stdout)
    (flavour,) = [b for b in doctor["backends"] if b["environment"] == "onnxruntime-cann"]
    assert [device["id"] for device in flavour["devices"]] == ["cpu"]
    assert "libascendcl.so" in flavour["absent"]["cann"]


#: On PATH, or kept by pyenv without being on it.
PYTHON_3_9 = [str(path) for path in Path.home().glob(".pyenv/versions/3.9*/bin/python")]
PYTHON_3_9 += [found] if (found := shutil.which("python3.9")) else []


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON_3_9, reason="there is no Python 3.9 here")
def test_a_worker_runs_on_the_oldest_python_and_numpy(
    bench: Bench, doubling_model: Path, tmp_path: Path
) -> None:
    venv = tmp_path / "old"
    subprocess.run([PYTHON_3_9[0], "-m", "venv", "--without-pip", str(venv)], check=True)
    wanted = ["--python-version", "3.9", "--only-binary", ":all:", "numpy==1.24.4"]
    site = next(venv.glob("lib/python*/site-packages"))
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", str(site), *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"numpy 1.24 can't be installed: {done.stderr.splitlines()[-1]}")
    (tmp_path / "bench.toml").write_text(
        f'[environments.old]\nbackend = "stand-in"\npython = "{venv}/bin/python"\n'
    )
    run = bench("run", "-m", str(doubling_model), *QUICK, "--json", "-t", "stand-in@old:ok")
    assert rows(run)["stand-in@old:ok"]["status"] == "ok", run.stderr
    fact = stored(tmp_path)[1]["stand-in@old:ok"]["environment"]
    assert fact["numpy"] == "1.24.4"
    assert fact["python"].startswith("3.9")
    # The adapters of ours too: importing one imports no runtime.
    (staged,) = (tmp_path / "cache" / "workers").iterdir()
    modules = [
        ".".join(path.relative_to(staged).with_suffix("").parts)
        for path in (staged / "bench" / "backends").rglob("[a-z]*.py")
    ]
    program = "".join(f"import {name}\n" for name in modules)
    done = subprocess.run(
        [str(venv / "bin" / "python"), "-c", program],
        env={**os.environ, "PYTHONPATH": str(staged)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
