"""`bench debug scaffold` writes packages that work as written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import Bench
from installed import install

from bench.commands.debug.scaffold import command
from bench.contract.running import run_contract
from bench.errors import SpecError, Unavailable


def scaffold(kind: str, name: str, output: Path) -> None:
    done = CliRunner().invoke(command, [kind, name, "-o", str(output)])
    if done.exception is not None:
        raise done.exception
    lines = (output / "README.md").read_text().splitlines()
    assert 8 <= len(lines) <= 12


def install_from(package: Path, installed: Path) -> None:
    """As `pip install` would: what `pyproject.toml` names, and its modules but for the tests."""
    install((package / "pyproject.toml").read_text(), installed)
    for path in package.iterdir():
        if path.is_dir():
            shutil.copytree(path, installed / path.name)
        elif path.suffix == ".py" and not path.name.startswith("test_"):
            shutil.copy(path, installed)


def pytest_in(folder: Path, installed: Path, *arguments: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_each_package_is_found_and_passes_its_own_test(
    bench: Bench, environment: dict[str, str], tmp_path: Path
) -> None:
    installed, packages = tmp_path / "installed", tmp_path / "packages"
    installed.mkdir()
    for kind, name in (("backend", "my-chip"), ("model", "my-net"), ("task", "my-score")):
        scaffold(kind, name, packages / kind)
        install_from(packages / kind, installed)
    assert "7 passed" in pytest_in(packages, installed, "-q")

    environment["PYTHONPATH"] = str(installed)
    assert "bench_my_chip:MyChip" in bench("doctor", "--backends").stdout
    planned = bench("run", "-m", "my-net", "-t", "my-chip:cpu", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "my-net my-chip:cpu single-stream batch 1" in planned.stdout


@pytest.mark.long
def test_a_backend_that_it_writes_keeps_the_contract(
    bench: Bench, environment: dict[str, str], tmp_path: Path
) -> None:
    installed = tmp_path / "installed"
    installed.mkdir()
    scaffold("backend", "my-chip", tmp_path / "package")
    install_from(tmp_path / "package", installed)
    environment["PYTHONPATH"] = str(installed)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")  # the user's own
    done = bench("debug", "selftest", "--contract", "my-chip")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^[5-9]\d passed", done.stdout, re.MULTILINE)

    adapter = installed / "bench_my_chip.py"
    adapter.write_text(
        adapter.read_text().replace("np.array(array) for array in", "0 * array for array in")
    )
    done = bench("debug", "selftest", "--contract", "my-chip:cpu")
    assert done.returncode == 1
    assert "check_run_computes_the_model" in done.stdout


def test_the_contract_is_not_run_on_what_is_not_there(bench: Bench) -> None:
    done = bench("debug", "selftest", "--contract", "onnx-reference:tpu")
    assert done.returncode == 2
    assert "onnx-reference:tpu: the backend lists no such device" in done.stderr
    done = bench("debug", "selftest", "--contract", "rknn")
    assert done.returncode == 1
    assert "rknn is not available" in done.stderr


def test_the_contract_without_pytest_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pytest and safetensors.*infer-bench\[contract\]"):
        run_contract("onnx-reference")


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("backend", "My Chip", "lower-case letters"),
        ("backend", "../chip", "lower-case letters"),
        ("backend", "none", "would be called None"),
        ("backend", "device", "would be called Device"),
        ("task", "task", "would be called Task"),
        ("backend", "onnxruntime", "already installed"),
        ("model", "fashion-student", "already installed"),
        ("task", "classification", "already installed"),
    ],
)
def test_a_name_that_can_not_be_used_is_refused_and_nothing_is_written(
    tmp_path: Path, kind: str, name: str, told: str
) -> None:
    with pytest.raises(SpecError, match=told):
        scaffold(kind, name, tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_a_folder_with_files_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("kept = True\n")
    with pytest.raises(SpecError, match="already exists and is not empty"):
        scaffold("backend", "my-chip", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]
