"""The adapter to torch_npu: on the stand-in in processes of their own, and where it is missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from bench.backends.torch.compile import TorchCompile
from bench.backends.torch.eager import TorchEager
from bench.backends.torch.npu import TorchNpu

from bench.errors import Unavailable
from bench.store.run import read_run

HERE = Path(__file__).parent
DEVICES = """
from bench.backends.torch.npu import TorchNpu
from bench.errors import Unavailable
try:
    print([device.id for device in TorchNpu().devices()])
except Unavailable as error:
    print(error.reason, "|", error.remedy)
"""


def on_the_stand_in(
    *command: str, fault: str = "", cwd: Path | None = None, timeout: int = 300
) -> subprocess.CompletedProcess[str]:
    path = [str(HERE / "stand_in"), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    own: Mapping[str, str] = {**TorchNpu.environment, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command],
        env={
            **os.environ,
            **own,
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "TORCH_NPU_STAND_IN": fault,
            "COLUMNS": "80",
        },
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_everything_that_holds_on_the_stand_in(tmp_path: Path) -> None:
    """The contract, eagerly, in graph mode and as CUDA graphs: `on_the_stand_in.py`."""
    file = str(HERE / "on_the_stand_in.py")
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--show-capture=no")
    done = on_the_stand_in("-m", "pytest", *options, file, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stdout[-6000:]
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    dots = sum(line.split()[0].count(".") for line in done.stdout.splitlines() if "%]" in line)
    assert (int(passed[1]) if passed else dots) > 90, done.stdout


@pytest.mark.parametrize(
    ("fault", "reason", "remedy"),
    [
        ("no-cann", "libascendcl.so: cannot open shared object file", "set_env.sh"),
        ("no-npu", "/dev/davinci", "npu-smi info"),
        ("wrong", "/dev/davinci", "npu-smi info"),  # a device that computes wrongly is none
    ],
)
def test_what_is_missing_is_named(fault: str, reason: str, remedy: str) -> None:
    done = on_the_stand_in("-c", DEVICES, fault=fault)
    assert done.returncode == 0, done.stderr
    told, _, advice = done.stdout.partition("|")
    assert told.startswith("torch-npu is not available: ")
    assert reason in told
    assert remedy in advice


def test_without_the_package_it_says_how_to_get_it() -> None:
    with pytest.raises(Unavailable, match=r"No module named 'torch_npu'.*CANN.*bench env create"):
        TorchNpu().devices()


@pytest.mark.parametrize("backend", [TorchEager, TorchCompile, TorchNpu])
def test_no_torch_backend_lets_torch_import_what_is_plugged_into_it(backend: type) -> None:
    assert backend.environment["TORCH_DEVICE_BACKEND_AUTOLOAD"] == "0"  # type: ignore[attr-defined]


def test_its_environment_has_one_torch_and_the_torch_npu_for_it() -> None:
    (steps,) = TorchNpu.requirements.values()
    pinned = dict(part.split("==") for step in steps for part in step if "==" in part)
    assert pinned["torch"] == pinned["torch-npu"]


def test_a_run_on_the_stand_in_is_named_as_one_and_says_what_it_held(tmp_path: Path) -> None:
    done = on_the_stand_in(
        *("-m", "bench", "run", "-m", "fashion-student", "-t", "torch-npu:npu:1", "--threads", "1"),
        *("--precision", "50%", "--min-invocations", "2", "--max-time", "1", "--no-accuracy"),
        *("--scenario", "single-stream", "--quiet", "--json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["results"]
    assert row["device_name"] == "StandIn910B4-1"
    assert row["on_device_share"] == 1.0
    assert row["h2d_ns"] > 0
    assert row["device_bytes"] == 2 * 2**20
    (path,) = (tmp_path / "results" / "runs").iterdir()
    (record,) = read_run(path).records
    assert record.parity is not None
    assert record.parity.ok
    assert all(i.device_readings and i.power_w is None for i in record.invocations)


def test_without_the_package_nobody_waits_for_torch() -> None:
    code = "import sys; from bench.backends.torch.npu import TorchNpu\n"
    code += "try: TorchNpu().devices()\nexcept Exception: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr
    assert "torch" not in TorchNpu.preload
