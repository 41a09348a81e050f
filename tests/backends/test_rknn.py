"""The Rockchip simulator, in the interpreter that has it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench.backends.rknn import Rknn

from bench.errors import Unavailable

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTHON = os.environ.get("BENCH_TEST_RKNN_PYTHON", "")


def test_without_the_toolkit_it_is_unavailable_and_says_how_to_get_it() -> None:
    with pytest.raises(Unavailable, match="bench env create rknn"):
        Rknn().devices()


@pytest.mark.slow
@pytest.mark.skipif(
    not PYTHON, reason="BENCH_TEST_RKNN_PYTHON names no interpreter that has rknn-toolkit2"
)
def test_the_simulator_keeps_the_contract_within_float16(tmp_path: Path) -> None:
    side = tmp_path / "side" / "bench"
    shutil.copytree(ROOT / "bench" / "worker", side / "worker")
    shutil.copytree(ROOT / "backends", side / "backends")
    for name in ("__init__.py", "backend.py", "errors.py"):
        shutil.copy(ROOT / "bench" / name, side / name)
    (tmp_path / "models").mkdir()
    path = os.pathsep.join([str(side.parent), str(HERE.parent)])
    done = subprocess.run(
        [PYTHON, str(HERE / "rknn_contract.py"), "rk3588", str(tmp_path / "models")],
        env={**os.environ, "PYTHONPATH": path, **Rknn.environment},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["devices"] == ["rk3562", "rk3566", "rk3568", "rk3576", "rk3588"]
    assert answer["simulated"]
    assert answer["precision"] == "fp16"
    assert answer["checks"] > 20
    assert answer["failures"] == {}, "\n".join(answer["failures"].values())
    assert sys.executable != PYTHON
