"""A backend that answers with nonsense costs its own rows, and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warm_bench import WarmBench

from bench.store.run import StoredRun, read_run

SHORT = ("--threads", "1", "--scenario", "single-stream", "--precision", "50%", "--quiet")
FEW = ("--min-invocations", "2", "--max-invocations", "2", "--max-time", "1")
#: How a row fails (None: not), and words of its message, by what its worker does.
EXPECTED: dict[str, tuple[str | None, str]] = {
    "good": (None, ""),
    "garbage": ("crashed", "is not a message"),
    "huge-length": ("crashed", "a message can't have 4611686018427387904 bytes"),
    "no-json": ("crashed", "is not a message: JSONDecodeError"),
    "nested": ("crashed", "is not a message"),
    "huge-array": ("crashed", "its arrays need 4503599627370496 bytes"),
    "objects-announced": ("crashed", "an array of 'O' can't be sent"),
    "negative-shape": ("crashed", "[-1] is not a shape"),
    "objects": ("crashed", "an array of Python objects"),
    "ragged": ("crashed", "an array of Python objects"),
    "strings": ("crashed", "its worker's answer can't be used (ValueError"),
    "scalar": (None, ""),
    "nothing": (None, ""),
    "surrogate": ("crashed", "RuntimeError: caf? ?"),
    "novel": ("crashed", "RuntimeError: xxxx"),
    "novel-log": ("crashed", "it is in the log"),
    "negative": ("crashed", "makes no sense: a call took -"),
    "surrogate-name": (None, ""),
    "strings-scored": (None, ""),
    "half": ("timeout", "did not finish within 6 s"),
}


def installed(folder: Path) -> Path:
    """A folder that installs the backend of `hostile`, which no other test should look for."""
    info = folder / "installed" / "hostile-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bench.backends]\nhostile = hostile:Hostile\n")
    return info.parent


@pytest.fixture
def model(tmp_path: Path, doubling_model: Path) -> str:
    rows = pa.table({"x": [[1.0, 0, 0, 0], [0, 0, 1.0, 0]], "label": [0, 2]})
    pq.write_table(rows, tmp_path / "data.parquet")
    (tmp_path / "m.toml").write_text(
        f'name = "m"\ntask = "classification"\n[source]\nonnx = "{doubling_model}"\n'
        '[[inputs]]\nname = "x"\nshape = ["batch", 4]\n'
        '[dataset]\nname = "d"\npath = "data.parquet"\n'
    )
    return "m.toml"


def only_run(folder: Path) -> StoredRun:
    (path,) = (folder / "results" / "runs").iterdir()
    return read_run(path)


@pytest.mark.slow
def test_an_answer_of_which_nothing_can_be_made_is_the_failed_row_of_its_cell(
    warm_bench: WarmBench, environment: dict[str, str], tmp_path: Path, model: str
) -> None:
    path = f"{installed(tmp_path)}{os.pathsep}{environment['PYTHONPATH']}"
    targets = [part for kind in EXPECTED for part in ("-t", f"hostile:{kind}?us=20")]
    command = ("run", "-m", model, *targets, *SHORT, *FEW, "--cell-timeout", "6", "--json")
    given = environment | {"PYTHONPATH": path}
    result = warm_bench.run(command, tmp_path, given, timeout=240)
    assert result.returncode == 1, result.stderr
    assert "bug in bench" not in result.stderr
    stored = only_run(tmp_path)
    assert stored.skipped == []
    found: dict[str, Any] = {
        record.cell.target.partition("?")[0].removeprefix("hostile:"): record
        for record in stored.records
    }
    assert found.keys() == EXPECTED.keys()
    for kind, (failure, words) in EXPECTED.items():
        told = found[kind].failure
        if failure is None:
            assert told is None, f"{kind}: {told}"
            assert len(found[kind].invocations) == 2, kind
        else:
            assert told is not None, kind
            assert (kind, told.kind) == (kind, failure)
            assert words in told.message, f"{kind}: {told.message[:300]}"
            assert len(told.message) + len(told.log_tail) < 10_000, kind
    assert "could not convert" in found["strings"].failure.message
    assert [c.name for c in found["strings-scored"].checks if not c.ok and c.name == "accuracy"]
    assert len((stored.path / "records.jsonl").read_bytes()) < 400_000
    assert all(log.stat().st_size <= 1 << 20 for log in stored.path.glob("logs/*"))
    rows = json.loads(result.stdout)["results"]
    assert len(rows) == len(EXPECTED)
