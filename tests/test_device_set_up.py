"""The device check finds a Python to measure with, also where nothing can be installed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEVICES = Path(__file__).parent / "devices"
sys.path.append(str(DEVICES))

import in_time  # noqa: E402
import set_up as setting_up  # noqa: E402
from set_up import set_up  # noqa: E402


def environment(folder: Path, *, pip: str, bench: bool) -> Path:
    """A folder in place of an environment, whose Python does as pip what a shell is told."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\n[ "$2" = pip ] && {{ {pip}; }}\nexit {0 if bench else 1}\n')
    python.chmod(0o755)
    return python


@pytest.fixture(autouse=True)
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting_up, "_HAS_CUDA", "raise SystemExit(1)")
    monkeypatch.setattr(setting_up, "_HAS_BENCH", "import bench")


def soon() -> float:
    return time.monotonic() + 120


def test_what_was_installed_is_used(tmp_path: Path) -> None:
    python = environment(tmp_path / "venv", pip="exit 0", bench=True)
    found = set_up(tmp_path / "venv", tmp_path, soon())
    assert (found.python, found.notes) == (str(python), [])


def test_without_a_network_what_is_installed_is_used_and_that_is_said(tmp_path: Path) -> None:
    environment(
        tmp_path / "venv",
        pip="echo ERROR: no network; echo; echo note: that was pip; exit 1",
        bench=False,
    )
    found = set_up(tmp_path / "venv", tmp_path, soon())
    assert found.python == sys.executable
    told = "\n".join(found.notes)
    assert "pip (bench) failed: no network\n" in told
    assert f"{sys.executable} is used" in told


def test_pip_has_no_more_time_than_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_time, "ENDING_S", 1.0)
    # As in what a script starts in the background.
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)
    python = environment(tmp_path / "venv", pip="exec sleep 300", bench=True)
    until = time.monotonic() + 12
    try:
        found = set_up(tmp_path / "venv", tmp_path, until)
    finally:
        signal.signal(signal.SIGINT, ours)
    assert found.python == str(python)  # what is there already may be all that is needed
    cut = [re.match(r"pip \(bench\) took longer than the (\d+) s", note) for note in found.notes]
    (seconds,) = (int(found[1]) for found in cut if found)
    assert seconds <= 6, "half of the time is kept for finding out what can be used"


def test_where_bench_is_nowhere_there_is_no_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setting_up, "_HAS_BENCH", "raise SystemExit(1)")
    environment(tmp_path / "venv", pip="exit 1", bench=False)
    assert set_up(tmp_path / "venv", tmp_path, soon()).python == ""


def test_a_pytorch_with_cuda_that_is_there_is_not_installed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setting_up, "_HAS_CUDA", "raise SystemExit(0)")
    monkeypatch.setattr(setting_up, "PACKAGES", {})
    made = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")]
    subprocess.run(made, check=True)
    [packages] = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "click.py").write_text("version = 'its own'")
    found = set_up(tmp_path / "venv", tmp_path, soon())
    assert f"the PyTorch of {sys.executable} is used" in found.notes
    code = "import click, psutil; print(click.version, psutil.__file__)"
    python = str(tmp_path / "venv" / "bin" / "python")
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, env=clean, cwd=tmp_path
    )
    assert done.stdout.startswith("its own ")  # its packages come before those that are lent


def test_onnxruntime_finds_the_cuda_libraries_of_a_pytorch_that_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lent = tmp_path / "site-packages"
    for name in ("cu13", "cudnn"):
        (lent / "nvidia" / name / "lib").mkdir(parents=True)
    monkeypatch.setattr(setting_up, "_HAS_CUDA", "raise SystemExit(0)")
    monkeypatch.setattr(setting_up.site, "getsitepackages", lambda: [str(lent)])
    monkeypatch.setenv("LD_LIBRARY_PATH", "/its/own")
    environment(tmp_path / "venv", pip="exit 0", bench=True)
    found = set_up(tmp_path / "venv", tmp_path, soon()).variables
    paths = found["LD_LIBRARY_PATH"].split(":")
    assert paths[-1] == "/its/own"
    nvidia = lent / "nvidia"
    assert set(paths[:-1]) == {str(nvidia / "cu13" / "lib"), str(nvidia / "cudnn" / "lib")}
