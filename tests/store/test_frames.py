"""`bench.load`: everything that is stored, as tables."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
from compared_runs import MACHINE, a_header, on_disk, with_predictions
from fake_records import STUDENT, TEACHER, a_cell, a_failure, a_record
from measured_runs import measured_run

import bench
from bench.errors import SpecError
from bench.record.block import Block
from bench.record.result import Invocation
from bench.store.fields import RESULT_FIELDS, RUN_FIELDS, SAMPLE_FIELDS
from bench.store.frames import INVOCATION_FIELDS, ResultsWarning, load, read_runs
from bench.store.rows import result_rows
from bench.store.run import read_run
from bench.store.write import RunStore

VERSION_1 = Path(__file__).parents[1] / "runs" / "version-1"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    facts = {**MACHINE, "git_commit": "abc"}
    on_disk(folder / "b", [a_record(a_cell(STUDENT))], created_at="2026-01-02T00:00:00+00:00")
    records = [a_record(), a_failure(a_cell(target="openvino:cpu"))]
    on_disk(folder / "a", records, facts=facts)
    return folder


def test_a_row_a_record_with_the_documented_columns(results: Path) -> None:
    table = bench.load(results)
    assert list(table.columns) == [*RUN_FIELDS, *RESULT_FIELDS]
    assert len(table) == 3
    assert set(table.git_commit.dropna()) == {"abc"}
    assert table.created_at.dtype.kind == "M"
    assert str(table.created_at.dt.tz) == "UTC"


def test_the_rows_are_those_of_json(results: Path) -> None:
    table = load(results / "a")
    (run, _) = read_runs(results / "a")
    for row, (_, loaded) in zip(result_rows(run[0].records), table.iterrows(), strict=True):
        for key, value in row.items():
            found = loaded[key]
            if key == "finished_at":
                found, value = pandas.isna(found), not value
            missing = not isinstance(found, list) and pandas.isna(found)
            assert missing if value is None else found == value, key


def test_columns_have_the_same_types_whatever_is_in_them(results: Path, tmp_path: Path) -> None:
    failed = on_disk(tmp_path / "failed", [a_failure()])
    assert load(failed.path)[[*RESULT_FIELDS]].median_ns.dtype == np.float64
    for name in ("median_ns", "accuracy", "samples", "peak_rss_bytes", "finished_at", "batch"):
        assert load(failed.path)[name].dtype == load(results)[name].dtype, name


def test_every_field_that_a_record_can_hold_has_a_column_that_takes_it(tmp_path: Path) -> None:
    loaded = load(measured_run(tmp_path))

    assert 100.5 in set(loaded["cache_token_bytes"])  # half a byte: grows once in two tokens
    for name in set(RESULT_FIELDS) - {"foreign"}:
        assert loaded[name].notna().any(), name


def test_paths_may_be_texts_lists_and_patterns(results: Path) -> None:
    assert len(load(str(results))) == len(load([results / "a", results / "b"])) == 3
    assert len(load(f"{results}/a/*")) == 2


def test_samples_are_a_row_a_call(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path, a_header([a_cell()]))
    store.write_samples("g-0", [Block("one", 0, 0, 0, np.array([5, 6]))])
    store.write_samples("g-1", [Block("two", 1, 2, 3, np.array([7]), disturbed=True)])
    store.close()
    table = load(tmp_path, "samples")
    assert list(table.columns) == list(SAMPLE_FIELDS)
    assert table.latency_ns.tolist() == [5, 6, 7]
    assert table.cell_id.astype(str).tolist() == ["one", "one", "two"]
    assert table.disturbed.tolist() == [False, False, True]
    assert set(table.run.astype(str)) == {str(store.path)}


def test_a_run_without_samples_has_an_empty_table_with_the_columns(results: Path) -> None:
    assert list(load(results, "samples").columns) == list(SAMPLE_FIELDS)


def test_invocations_are_a_row_a_process() -> None:
    table = load(VERSION_1, "invocations")
    assert list(table.columns) == list(INVOCATION_FIELDS)
    assert table["index"].tolist() == [0, 1]
    assert {"median_ns", *Invocation.model_fields} <= set(table.columns)


def test_predictions_are_a_row_an_item_without_the_logits(tmp_path: Path) -> None:
    run = on_disk(tmp_path, [a_record(a_cell(TEACHER))])
    with_predictions(run, {"x": np.array([True, False, True])})
    table = load(tmp_path, "predictions")
    assert list(table.columns) == [
        *("run", "model", "variant", "target", "item", "label", "predicted")
    ]
    assert (table.label == table.predicted).tolist() == [True, False, True]


def test_what_could_not_be_read_is_warned_of_and_the_rest_is_there(results: Path) -> None:
    path = next((results / "a").glob("*/records.jsonl"))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.warns(ResultsWarning, match="records.jsonl line 2: incomplete record"):
        assert len(load(results)) == 2


def test_a_broken_run_among_whole_ones_is_left_out_and_told(results: Path, tmp_path: Path) -> None:
    (results / "c").mkdir()
    (results / "c" / "run.json").write_text("")
    with pytest.warns(ResultsWarning, match=r"left out: .*c/run.json"):
        assert len(load(results)) == 3
    with pytest.raises(SpecError, match=r"c/run.json"):
        load(results / "c")


def test_an_unknown_table_and_no_path_are_refused(results: Path) -> None:
    with pytest.raises(SpecError, match="Available: records, samples"):
        load(results, "sample")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="name a run directory"):
        load([])


def test_a_run_that_version_1_wrote_still_loads_whole() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (row,) = load(VERSION_1).to_dict("records")
        samples = load(VERSION_1, "samples")
        predictions = load(VERSION_1, "predictions")
    run = read_run(VERSION_1)
    assert run.skipped == []
    assert row["model"] == "small"
    assert row["samples"] == sum(len(s) for s in run.samples(row["cell_id"]).values())
    assert {"canary", row["cell_id"]} == set(samples.cell_id.astype(str))
    assert (predictions.label == predictions.predicted).mean() == row["accuracy"]


def test_importing_bench_imports_no_pandas() -> None:
    code = "import bench, sys; assert 'pandas' not in sys.modules; bench.load"
    subprocess.run([sys.executable, "-c", code], check=True)
