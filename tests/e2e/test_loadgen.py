"""`bench run --driver loadgen` with the real package: its figures are those of our samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


@pytest.mark.long  # starts five workers, one of which hangs for seconds
def test_what_fails_in_the_middle_of_loadgens_test_costs_its_cell_alone(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    """A crash, a hang and an error in a call that LoadGen made; the other cell has its figures."""
    devices = ("ok", "dies-late", "hangs-late", "raises-late")
    targets = [flag for name in devices for flag in ("-t", f"stand-in:{name}?us=20")]
    settings = ["--loadgen", "min_duration=1", "--loadgen", "min_query_count=6000"]
    asked = ["--driver", "loadgen", "--scenario", "single-stream", "--cell-timeout", "20"]
    done = bench("run", "-m", str(doubling_model), *targets, *asked, *settings, *FEW)
    assert done.returncode == 1, done.stderr
    (path,) = (tmp_path / "results" / "runs").iterdir()
    records = {record.cell.target: record for record in read_run(path).records}
    kinds = {name: records[f"stand-in:{name}?us=20"].failure for name in devices}
    assert kinds.pop("ok") is None
    assert {name: found and found.kind for name, found in kinds.items()} == {
        "dies-late": "crashed",
        "hangs-late": "timeout",
        "raises-late": "crashed",
    }
    assert "the card fell off" in str(kinds["raises-late"])


@pytest.mark.long  # four whole tests of LoadGen
def test_a_server_gets_its_rate_and_a_batch_is_a_query(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    asked = ["--driver", "loadgen", "--scenario", "server", "--scenario", "multi-stream"]
    more = ["--latency-bound", "1s", "--rate", "300", "--batch", "4", *SHORT[:2]]
    target = ["-t", "stand-in:ok?us=500"]
    done = bench("run", "-m", str(doubling_model), *target, *asked, *more, *FEW)
    assert done.returncode in (0, 1), done.stderr
    (path,) = (tmp_path / "results" / "runs").iterdir()
    run = read_run(path)
    server, multi = (
        next(r for r in run.records if r.cell.scenario == name)
        for name in ("server", "multi-stream")
    )
    for one in server.invocations:
        assert one.loadgen is not None
        logged = detail(run, one.loadgen.logs)
        assert logged["effective_target_qps"] == 300
        assert logged["result_completed_samples_per_sec"] == one.capacity_per_s
    for one in multi.invocations:
        assert one.loadgen is not None
        logged = detail(run, one.loadgen.logs)
        ours = np.sort(run.samples(multi.cell_id)[one.index])
        assert logged["effective_samples_per_query"] == 4
        assert logged["result_99.00_percentile_per_query_latency_ns"] == ours[len(ours) * 99 // 100]
