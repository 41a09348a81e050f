"""Language models of many architectures through the real command, right on every target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_decoders import CLASSES, save

from bench.store.run import read_run

pytest.importorskip("transformers")
TARGETS = ("onnxruntime:cpu", "openvino:cpu", "torch:cpu")
SHORT = ("--quick", "--threads", "1", "--min-invocations", "2", "--max-time", "1")
#: Beyond the windows of all of them, so that the state is what it is in the middle of a text.
LENGTHS = ("--prompt", "12", "--depth", "21")


@pytest.mark.long
def test_each_architecture_is_right_on_three_targets(bench: Any, tmp_path: Path) -> None:
    models = [("-m", str(save(name, tmp_path))) for name in CLASSES]
    targets = [("-t", target) for target in TARGETS]
    flags = [word for pair in (*models, *targets) for word in pair]
    result = bench("run", *flags, *LENGTHS, *SHORT, timeout=3600)
    assert result.returncode == 0, result.stderr
    (run,) = (tmp_path / "results" / "runs").iterdir()
    found = {
        (r.cell.model.name, r.cell.target, r.cell.scenario): (r.status, r.parity and r.parity.ok)
        for r in read_run(run).records
    }
    assert found == {
        (name, target, scenario): ("ok", True)
        for name in CLASSES
        for target in TARGETS
        for scenario in ("prefill@12", "decode@21")
    }
