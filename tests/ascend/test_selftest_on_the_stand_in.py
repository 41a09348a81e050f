"""`bench debug selftest ascend` as the first person with a card will run it, on the stand-in."""

from __future__ import annotations

import json
import re
from pathlib import Path

from .test_run import Run, bench_on_ascend

__all__ = ["bench_on_ascend"]


def test_every_step_passes_and_the_report_tells_what_it_ran_on(
    bench_on_ascend: Run,
    tmp_path: Path,
) -> None:
    result = bench_on_ascend("selftest", "ascend")
    assert result.returncode == 0, result.stdout
    text = (tmp_path / "selftest-ascend.md").read_text()
    data = json.loads(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])
    assert {step["outcome"] for step in data["steps"]} == {"ok"}
    assert data["device"]["name"] == "StandIn910B4"
    assert data["runtime_version"] == "0.0.stand-in"
    steps = {step["name"]: step for step in data["steps"]}
    assert "207001" in steps["reports running out of memory"]["detail"]
    assert steps["run convnet"]["facts"]["h2d_ns"] > 0
    assert steps["with precision=fp16"]["facts"]["placement"]["precision"] == "fp16"
    lines = (tmp_path / "misuses.log").read_text().splitlines()
    assert [line for line in lines if not line.startswith("device 0 was reset")] == []
