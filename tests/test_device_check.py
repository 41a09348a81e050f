"""The script for a machine with a GPU: its commands are bench's, and it keeps to its time."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType

import click
import pytest

from bench.commands.cli import cli

SCRIPT = Path(__file__).parent / "devices" / "gpu.py"
TARGETS = ["onnxruntime:cuda:0", "torch:cuda:0", "torch-compile:cuda:0"]


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("device_check", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["device_check"] = module
    spec.loader.exec_module(module)
    return module


def test_every_command_of_it_is_one_of_bench(gpu: ModuleType, tmp_path: Path) -> None:
    machine = gpu.Machine("python", tmp_path, time.monotonic() + 600, targets=TARGETS)
    commands = [
        command
        for stage in gpu.STAGES
        if stage.name != "doctor"
        for command in stage.commands(machine, 150.0)
        if "pytest" not in command
    ]
    assert len(commands) >= 5
    for command in commands:
        assert command[:3] == ["python", "-m", "bench"]
        name, *words = command[3:]
        parsed = cli.get_command(click.Context(cli), name)
        assert parsed is not None, name
        parsed.make_context(name, list(words))  # raises for an option that isn't there
        named = [word for word in words if ":cuda" in word]
        assert named, "no target was named"


def test_cells_share_the_time_of_their_stage(gpu: ModuleType, tmp_path: Path) -> None:
    machine = gpu.Machine("python", tmp_path, time.monotonic() + 600, targets=TARGETS)
    [command] = gpu.trio(machine, 150.0)
    seconds = float(command[command.index("--max-time") + 1])
    cells = command.count("-m") - 1  # that of `python -m bench`
    cells *= command.count("-t") * command.count("--scenario")
    assert seconds * cells <= 76


def test_a_stage_that_takes_too_long_costs_that_one_and_is_told(
    gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").mkdir()
    machine = gpu.Machine(sys.executable, tmp_path, time.monotonic() + 60)
    sleeping = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"]
    slow = gpu.Stage("slow", 1 / 60, lambda machine, seconds: [sleeping])
    fine = gpu.Stage("fine", 1.0, lambda machine, seconds: [[sys.executable, "-c", "print(7)"]])
    assert not gpu._done(slow, machine)
    assert gpu._done(fine, machine)
    told = capsys.readouterr().out
    assert "=== slow" in told
    assert "7\n" in told
