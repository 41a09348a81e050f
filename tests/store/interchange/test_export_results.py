"""Results written for other tools, and read again by them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
from compared_runs import a_header
from fake_records import a_cell, a_failure, a_record
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_benchmark.stats import Stats  # type: ignore[import-untyped]

from bench.record.block import Block
from bench.store.fields import RESULT_FIELDS, RUN_FIELDS
from bench.store.interchange.foreign import read_foreign, store
from bench.store.interchange.formats import READERS, WRITERS
from bench.store.interchange.pytest_benchmark import _statistics
from bench.store.run import StoredRun, read_run
from bench.store.write import RunStore


@pytest.fixture
def run(tmp_path: Path) -> StoredRun:
    records = [
        a_record(a_cell()),
        a_record(a_cell(target="=cmd()"), 3e5),
        a_failure(a_cell(target="openvino:cpu")),
    ]
    written = RunStore.create(tmp_path / "runs", a_header([r.cell for r in records]))
    rng = np.random.default_rng(1)
    for generation in (0, 1):
        blocks = [
            Block(r.cell_id, generation, 0, place, rng.integers(200_000, 300_000, 50))
            for place, r in enumerate(records[:2])
        ]
        written.write_samples(f"g-{generation}", blocks)
    for record in records:
        written.append_record(record)
    written.close()
    return read_run(written.path)


def test_pytest_benchmark_itself_compares_what_is_written(run: StoredRun, tmp_path: Path) -> None:
    path = tmp_path / "ours.json"
    path.write_bytes(WRITERS["pytest-benchmark"]([run])[0])
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(path), "--columns"]
    done = subprocess.run(
        [*command, "min,max,mean,stddev,median,iqr,outliers,ops,rounds,iterations"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "fashion-teacher onnxruntime:cpu single-stream batch 1" in done.stdout + done.stderr
    assert " 100 " in done.stdout + done.stderr  # rounds


def test_what_pytest_benchmark_has_no_place_for_is_told(run: StoredRun) -> None:
    _, left_out = WRITERS["pytest-benchmark"]([run])
    assert left_out == ["fashion-teacher openvino:cpu single-stream batch 1: no stored samples"]


def test_a_round_trip_through_pytest_benchmark_keeps_every_timing(
    run: StoredRun, tmp_path: Path
) -> None:
    path = tmp_path / "ours.json"
    path.write_bytes(WRITERS["pytest-benchmark"]([run])[0])
    back = read_run(
        store(read_foreign(path, READERS, None), tmp_path / "back", "bench results import")
    )
    assert len(back.records) == 2
    for record, theirs in zip(run.records[:2], back.records, strict=True):
        assert theirs.foreign is not None
        assert theirs.foreign.details["extra_info.cell_id"] == record.cell_id
        ours = np.concatenate(list(run.samples(record.cell_id).values()))
        np.testing.assert_array_equal(back.samples(theirs.cell_id)[0], ours)
        assert theirs.foreign.median_ns == pytest.approx(np.median(ours))


def test_a_foreign_run_comes_out_as_it_went_in(tmp_path: Path) -> None:
    path = Path(__file__).parent / "files" / "pytest_benchmark.json"
    run = read_run(
        store(read_foreign(path, READERS, None), tmp_path / "runs", "bench results import")
    )
    again = json.loads(WRITERS["pytest-benchmark"]([run])[0])
    for mine, theirs in zip(
        again["benchmarks"], json.loads(path.read_text())["benchmarks"], strict=True
    ):
        assert (mine["name"], mine["fullname"]) == (theirs["name"], theirs["fullname"])
        for key in ("min", "max", "mean", "stddev", "median", "q1", "q3", "ops", "total"):
            assert mine["stats"][key] == pytest.approx(theirs["stats"][key], rel=0.02), key


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=30))
def test_the_statistics_are_those_of_pytest_benchmark(data: list[float]) -> None:
    theirs = Stats()
    for value in data:
        theirs.update(value)
    ours = _statistics(data)
    assert ours.keys() == set(Stats.fields)
    for key in ("min", "max", "mean", "stddev", "median", "q1", "q3", "iqr", "ops", "total"):
        assert ours[key] == pytest.approx(getattr(theirs, key), rel=1e-6, abs=1e-12), key


def test_csv_has_a_line_a_record_and_no_formula(run: StoredRun) -> None:
    text = WRITERS["csv"]([run])[0].decode()
    rows = list(csv.DictReader(text.splitlines()))
    assert list(rows[0]) == [*RUN_FIELDS, *RESULT_FIELDS]
    assert [row["target"] for row in rows] == ["onnxruntime:cpu", "'=cmd()", "openvino:cpu"]
    assert float(rows[0]["median_ns"]) == 271_000
    assert rows[2]["median_ns"] == ""


def test_json_and_parquet_hold_the_same_rows(run: StoredRun, tmp_path: Path) -> None:
    rows = json.loads(WRITERS["json"]([run])[0])
    path = tmp_path / "x.parquet"
    path.write_bytes(WRITERS["parquet"]([run])[0])
    table = pandas.read_parquet(path)
    assert list(table.columns) == list(rows[0])
    assert table.median_ns.dropna().tolist() == [r["median_ns"] for r in rows if r["median_ns"]]
    assert table.samples.dtype == "Int64"
