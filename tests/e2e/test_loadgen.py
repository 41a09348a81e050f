"""`bench run --driver loadgen` with the real package: its figures are those of our samples."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cards.tasks import find_task
from bench.commands.cli import cli
from bench.record.loadgen import read_detail
from bench.stats.percentile import early_stopping_percentile
from bench.store.run import StoredRun, read_run

pytest.importorskip("mlperf_loadgen")

SHORT = ["--loadgen", "min_duration=150", "--loadgen", "min_query_count=700"]
FEW = ["--min-invocations", "2", "--max-invocations", "2", "--quiet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    results = tmp_path_factory.mktemp("runs")
    arguments = ["run", "-m", "fashion-student", "-t", "onnxruntime:cpu", "--driver", "loadgen"]
    asked = ["--scenario", "SingleStream", "--scenario", "Offline", "--results", str(results)]
    done = CliRunner().invoke(cli, [*arguments, *asked, *SHORT, *FEW])
    assert "LoadGen" in done.output, done.output
    (path,) = results.iterdir()
    return read_run(path)


def detail(run: StoredRun, logs: str) -> dict[str, float]:
    return read_detail((run.path / logs / "mlperf_log_detail.txt").read_text())


def test_the_samples_that_loadgen_logs_are_ours_to_the_nanosecond(run: StoredRun) -> None:
    record = next(r for r in run.records if r.cell.scenario == "single-stream")
    samples = run.samples(record.cell_id)
    assert len(record.invocations) == 2
    for one in record.invocations:
        assert one.loadgen is not None
        logged, ours = detail(run, one.loadgen.logs), np.sort(samples[one.index])
        assert logged["result_query_count"] == len(ours)
        assert logged["result_min_latency_ns"] == ours[0]
        assert logged["result_max_latency_ns"] == ours[-1]
        assert logged["result_mean_latency_ns"] == int(ours.sum()) // len(ours)
        for p in (50, 90, 95, 97, 99):  # its definition of a percentile
            assert logged[f"result_{p}.00_percentile_latency_ns"] == ours[len(ours) * p // 100]
        # The same rule as ours, of the same queries.
        assert logged["early_stopping_latency_ss"] == early_stopping_percentile(ours, 0.90)
        assert logged["early_stopping_latency_ms"] == early_stopping_percentile(ours, 0.99)
        assert one.loadgen.call_ns < logged["result_50.00_percentile_latency_ns"]


def test_the_logs_are_kept_and_the_trace_is_not(run: StoredRun) -> None:
    names = {"mlperf_log_summary.txt", "mlperf_log_detail.txt", "mlperf_log_accuracy.json"}
    for record in run.records:
        tests = [run.path / one.loadgen.logs for one in record.invocations if one.loadgen]
        for folder in (*tests, run.path / "loadgen" / record.cell_id / "accuracy"):
            assert {path.name for path in folder.iterdir()} == names


def test_the_accuracy_is_that_of_loadgens_log(run: StoredRun) -> None:
    """Decoded here by other means than the program's own; equal to our score of it."""
    for record in run.records:
        text = (run.path / "loadgen" / record.cell_id / "accuracy").joinpath(
            "mlperf_log_accuracy.json"
        )
        columns = run.scored_columns(record)
        right = 0
        for entry in json.loads(text.read_text()):
            logits = np.frombuffer(bytes.fromhex(entry["data"]), "<f4")
            right += int(logits.argmax() == columns["label"][entry["qsl_idx"]])
        assert record.accuracy is not None
        assert record.accuracy.correct == right
        scores = find_task("classification").scores(columns, 0.95)
        assert record.accuracy.value.value == scores[0].value.estimate


def test_the_driver_is_said_wherever_the_row_is(run: StoredRun) -> None:
    assert {record.cell.driver for record in run.records} == {"loadgen"}
    text = CliRunner().invoke(cli, ["show", str(run.path)]).output
    assert "Result not verified by MLCommons Association" in " ".join(text.split())
    rows = json.loads(CliRunner().invoke(cli, ["show", str(run.path), "--json"]).output)["results"]
    assert {row["driver"] for row in rows} == {"loadgen"}
    assert [row["loadgen_tests"] for row in rows] == [2, 2]
