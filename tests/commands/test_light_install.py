"""The install without extras: what it measures and reads with, and what it says it lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import light_install
import pytest
import weight
from packaging.requirements import Requirement

import bench as package
from bench.errors import Unavailable

#: Runs command lines one after the other in one process; says how each went.
_RUN_ALL = """
import contextlib, io, json, shutil, sys
from bench.__main__ import main
for arguments in json.loads(sys.argv[1]):
    if arguments[0] == "compare":
        shutil.copytree("run", "other")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    print(json.dumps([arguments, code, out.getvalue(), err.getvalue()]))
"""


def test_the_light_install_brings_no_tables_no_pictures_and_no_second_runtime() -> None:
    light = light_install.closure([light_install.LIGHT])
    assert {"numpy", "onnx", "onnxruntime", "click", "duckdb"} <= light
    tables, pictures = {"pandas", "pyarrow"}, {"plotly", "narwhals"}
    assert not light & {*tables, *pictures, "torch", "openvino", "pytest", "sympy", "scipy"}
    assert {*tables, "plotly", "scipy", "torch"} <= light_install.absent_modules()


def test_the_set_up_of_make_has_the_page_and_the_tables() -> None:
    """`make run` installs the extra `cpu`, and so does who reads the README."""
    assert {"pandas", "pyarrow", "plotly"} <= light_install.closure(
        [Requirement("infer-bench[cpu]")]
    )


def test_runs_are_measured_shown_compared_and_gated_by_the_light_install(
    environment: dict[str, str], doubling_model: Path, tmp_path: Path
) -> None:
    light_install.write_blocker(tmp_path / "absent")
    quick = ("--scenario", "single-stream", "--max-time", "0.2", "--min-invocations", "2")
    where = ("-t", "onnxruntime:cpu", "--threads", "1", "--results", "run", *quick)
    commands = [
        ("run", "-m", str(doubling_model), "-m", "fashion-student", *where),
        ("show", "run"),
        ("show", "run", "--json"),
        ("compare", "other", "run"),
        ("gate", "run", "--max-slowdown", "1000%", "--baseline", "other", "--inconclusive", "pass"),
        ("report", "run"),
        ("doctor", "onnxruntime"),
        ("matrix", "run"),
        ("results", "pack", "run", "-o", "packed.bench"),
        ("publish", "--check", "packed.bench"),
        ("results", "merge", "run", "-o", "merged"),
        ("results", "export", "run", "-o", "run.csv"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", _RUN_ALL, json.dumps(commands)],
        cwd=tmp_path,
        env={
            **environment,
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "absent"), environment["PYTHONPATH"]]),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answers = {
        " ".join(arguments): (code, out, err)
        for arguments, code, out, err in map(json.loads, done.stdout.splitlines())
    }
    code, _, err = answers.pop("report run")
    assert code == 1, err
    assert err.strip() == (
        "bench: The page's pictures need plotly, which is not installed. Install the extra "
        "`report` (pip install 'infer-bench[report]')."
    )
    for name, (code, out, err) in answers.items():
        assert code == 0, (name, out, err)
    assert "doubling" in answers["show run"][1]


@pytest.mark.parametrize("name", ["pandas", "pyarrow"])
def test_loading_tables_without_pandas_or_pyarrow_says_what_to_install(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Unavailable, match=rf"need {name}.*pip install 'infer-bench\[data\]'"):
        package.load(tmp_path)


def test_a_light_install_that_has_grown_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert weight.report({"large": 2**20, "small": 1}) == 0
    assert weight.report({"large": (weight.MOST_MB + 1) * 2**20, "small": 1}) == 1
    assert f"{weight.MOST_MB + 1} MB  large\n" in capsys.readouterr().out
