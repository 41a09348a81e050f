"""From a cell that stopped to its stored record: what it follows from is stored with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import main
from bench.present.publication.check import check
from bench.present.publication.write import publish
from bench.store import outputs
from bench.store.raw import read_raw
from bench.store.run import read_run

TINY = ["--quick", "--max-time", "0.5", "--max-invocations", "3", "--quiet", "--no-accuracy"]


@pytest.mark.parametrize(("most_bytes", "kept"), [(1 << 20, True), (0, False)])
def test_a_real_run_can_be_derived_and_outputs_that_are_not_kept_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int, kept: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outputs, "MOST_BYTES", most_bytes)
    arguments = [
        "-m",
        "fashion-student",
        "-t",
        "onnx-reference:cpu",
        "--scenario",
        "single-stream",
        *TINY,
    ]
    assert main(["run", *arguments, "--results", "runs"]) in (0, 1)
    run = read_run(tmp_path / "runs")
    (facts,) = read_raw(run).cells.values()
    assert (bool(facts.outputs), facts.parity is None) == (kept, kept)
    assert run.records[0].parity is not None
    publish([run], tmp_path / "p", "A title")
    account = check(tmp_path / "p")
    assert [str(problem) for problem in account.problems] == []
    assert (not account.taken) == kept
