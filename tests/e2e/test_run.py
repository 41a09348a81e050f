"""The real `bench run`, from the command line to the files that it leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.store.run import StoredRun, read_run

SHORT = ("--threads", "1", "--precision", "50%", "--min-invocations", "2", "--max-time", "1")
STAND_IN = "stand-in:ok?us=20"


def only_run(folder: Path) -> StoredRun:
    (path,) = (folder / "results" / "runs").iterdir()
    return read_run(path)


def assert_one_sentence(stderr: str) -> None:
    """An error is one line on stderr and no traceback."""
    assert "Traceback" not in stderr
    assert len([line for line in stderr.splitlines() if line.startswith("bench: ")]) == 1


def test_a_run_leaves_records_samples_and_a_table(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    result = bench("run", "-m", str(doubling_model), "-t", STAND_IN, *SHORT)
    assert result.returncode == 0, result.stderr
    assert "doubling" in result.stdout
    assert "stand-in:ok" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "\x1b[" not in result.stdout
    stored = only_run(tmp_path)
    assert [r.cell.scenario for r in stored.records] == ["single-stream", "offline"]
    for record in stored.records:
        assert record.status == "ok"
        assert record.parity is not None
        assert record.parity.ok
        assert len(record.invocations) >= 2
        samples = stored.samples(record.cell_id)
        assert sorted(samples) == [i.index for i in record.invocations]
        assert [len(samples[i.index]) for i in record.invocations] == [
            i.calls for i in record.invocations
        ]
    assert stored.header.facts["logical_cores"] >= 1
    assert stored.skipped == []


def test_what_of_the_labelled_data_was_left_out_is_told_and_stored(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    rows = pa.table({"x": [[1.0, 0, 0, 0], [0, 0, 1.0, 0]], "label": [0, 1]})
    pq.write_table(rows, tmp_path / "test-00000-of-00002.parquet")
    (tmp_path / "m.toml").write_text(
        f'name = "m"\ntask = "classification"\n[source]\nonnx = "{doubling_model}"\n'
        '[[inputs]]\nname = "x"\nshape = ["batch", 4]\n'
        '[dataset]\nname = "d"\npath = "test-00000-of-00002.parquet"\n'
    )
    result = bench("run", "-m", "m.toml", "-t", STAND_IN, *SHORT, "--scenario", "single-stream")
    words = "it is file 1 of 2 of its data set"
    assert f"note: m: test-00000-of-00002.parquet: {words}" in result.stderr
    assert words in " ".join(result.stdout.split())
    (record,) = only_run(tmp_path).records
    assert record.accuracy is not None
    assert record.accuracy.value.value == 0.5
    assert words in record.accuracy.notes[0]


def test_every_sample_is_kept_with_its_place_in_the_order(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    bench("run", "-m", str(doubling_model), "-t", STAND_IN, *SHORT)
    stored = only_run(tmp_path)
    tables = [pq.read_table(file) for file in (stored.path / "samples").glob("*.parquet")]
    assert tables
    for table in tables:
        assert table.column_names == [
            "cell_id",
            "invocation",
            "round",
            "position",
            "disturbed",
            "latency_ns",
        ]
        assert "canary" in table["cell_id"].to_pylist()
        assert table["latency_ns"].to_numpy().min() > 0


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    result = bench("run", "-m", str(doubling_model), "-t", STAND_IN, *SHORT, "--dry-run")
    assert result.returncode == 0
    assert "doubling stand-in:ok?us=20 single-stream batch 1" in result.stdout
    assert "2 cells" in result.stdout
    assert not (tmp_path / "results").exists()


def test_json_is_all_that_stands_on_standard_output(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    result = bench("run", "-m", str(doubling_model), "-t", STAND_IN, *SHORT, "--json")
    value = json.loads(result.stdout)
    assert len(value["results"]) == 2
    assert "measuring" in result.stderr


def test_quiet_means_no_progress(bench: Any, doubling_model: Path) -> None:
    result = bench("run", "-m", str(doubling_model), "-t", STAND_IN, *SHORT, "--quiet")
    assert "measuring" not in result.stderr
    assert "doubling" in result.stdout


def test_show_prints_the_same_tables_again(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    first = bench("run", "-m", str(doubling_model), "-t", STAND_IN, *SHORT)
    again = bench("show", str(only_run(tmp_path).path))
    assert again.stdout == first.stdout


@pytest.mark.parametrize(
    ("device", "kind", "words"),
    [
        ("raises", "crashed", "the driver said no"),
        ("segfaults", "crashed", "SIGSEGV"),
        ("killed", "out-of-memory", "out-of-memory killer"),
        ("hangs", "timeout", "--cell-timeout"),
        ("allocates", "out-of-memory", "smaller batch"),
        ("unsupported", "unsupported", "operator Mul"),
        ("exits", "crashed", "exit code 3"),
    ],
)
def test_a_failing_cell_is_one_typed_record_and_the_run_goes_on(
    bench: Any, tmp_path: Path, doubling_model: Path, device: str, kind: str, words: str
) -> None:
    targets = ("-t", f"stand-in:{device}", "-t", STAND_IN)
    single = ("--scenario", "single-stream", "--cell-timeout", "3")
    result = bench("run", "-m", str(doubling_model), *targets, *SHORT, *single)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    records = {r.cell.target: r for r in only_run(tmp_path).records}
    failed = records[f"stand-in:{device}"]
    assert failed.status == "failed"
    assert failed.failure is not None
    assert failed.failure.kind == kind
    assert words in failed.failure.message
    assert "\n" not in failed.failure.message
    assert records[STAND_IN].status == "ok"
    assert kind in result.stdout


def test_a_driver_that_hangs_when_asked_for_its_devices_fails_its_own_row(
    bench: Any, tmp_path: Path, doubling_model: Path, environment: dict[str, str]
) -> None:
    info = tmp_path / "hanging" / "hanging-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text("[bench.backends]\nhanging = stand_in:Hanging\n")
    environment["PYTHONPATH"] += f"{os.pathsep}{info.parent}"
    targets = ("-t", "hanging:cpu", "-t", STAND_IN, "--scenario", "single-stream")
    result = bench("run", "-m", str(doubling_model), *targets, *SHORT, "--cell-timeout", "3")
    assert result.returncode == 1, result.stderr
    records = {r.cell.target: r for r in only_run(tmp_path).records}
    failed = records["hanging:cpu"].failure
    assert failed is not None
    assert failed.kind == "timeout"
    assert "did not list its devices within 3 s" in failed.message
    assert records[STAND_IN].status == "ok"


def test_a_batch_larger_than_one_that_did_not_fit_is_not_tried(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    targets = ("-t", "stand-in:small", "-t", STAND_IN)
    batches = ("--scenario", "offline", "--batch", "2,8,32")
    result = bench("run", "-m", str(doubling_model), *targets, *SHORT, *batches)
    assert result.returncode == 1, result.stderr
    records = {(r.cell.target, r.cell.batch): r for r in only_run(tmp_path).records}
    assert {r.status for r in records.values() if r.cell.target == STAND_IN} == {"ok"}
    small = [records["stand-in:small", batch] for batch in (2, 8, 32)]
    assert [r.status for r in small] == ["ok", "failed", "failed"]
    kinds = [r.failure.kind for r in small if r.failure is not None]
    assert kinds == ["out-of-memory", "out-of-memory"]
    untried = small[2].failure
    assert untried is not None
    assert "not tried, because its batch 8 ran out of memory" in untried.message


def test_what_a_crashed_worker_printed_is_kept(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    single = ("--scenario", "single-stream")
    bench("run", "-m", str(doubling_model), "-t", "stand-in:segfaults", *SHORT, *single)
    (record,) = only_run(tmp_path).records
    assert record.failure is not None
    assert "about to read address zero" in record.failure.log_tail


def test_a_cell_that_dies_while_measured_fails_alone(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    targets = ("-t", "stand-in:dies-in-block", "-t", STAND_IN)
    result = bench("run", "-m", str(doubling_model), *targets, *SHORT)
    assert result.returncode == 1
    for record in only_run(tmp_path).records:
        expected = "failed" if "dies" in record.cell.target else "ok"
        assert record.status == expected


@pytest.mark.parametrize("device", ["wrong", "nan"])
def test_wrong_outputs_of_the_timed_session_are_marked(
    bench: Any, tmp_path: Path, doubling_model: Path, device: str
) -> None:
    single = ("--scenario", "single-stream")
    target = f"stand-in:{device}?us=20"
    result = bench("run", "-m", str(doubling_model), "-t", target, *SHORT, *single)
    (record,) = only_run(tmp_path).records
    assert record.parity is not None
    assert not record.parity.ok
    assert "parity" in result.stdout


def test_an_absent_target_named_in_full_is_a_failed_row_with_its_remedy(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    result = bench("run", "-m", str(doubling_model), "-t", "missing:cpu", *SHORT)
    assert result.returncode == 1
    for record in only_run(tmp_path).records:
        assert record.failure is not None
        assert record.failure.kind == "unavailable"
        assert "Install the missing runtime" in record.failure.message


def test_a_wildcard_takes_only_what_is_present(bench: Any, doubling_model: Path) -> None:
    result = bench("run", "-m", str(doubling_model), *SHORT, "--dry-run")
    assert result.returncode == 0
    assert "missing:" not in result.stdout
    assert "stand-in:ok" in result.stdout
    assert "onnx-reference" not in result.stdout
    assert "torch:cpu is left out" in result.stderr or "torch:cpu" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "fashion-studnt"], "Did you mean fashion-student"),
        (["-t", "onnxrntime:cpu"], "Did you mean onnxruntime"),
        (["-m", "absent.onnx"], "no such file"),
        (["-m", "seqence.onnx"], "no such file. Did you mean sequence.onnx"),
        (["-m", "sequence.onx"], "Did you mean sequence.onnx"),
        (["-m", "net.py:make"], "net.py: no such Python file."),
        (["wrong-ky.toml"], "no such suite file. Did you mean wrong-key.toml"),
        (["-m", "a", "-m", "ok.onx", "-t", "b:cpu", "-t", "c:cpu"], "'a'|'ok.onx'|'b'|'c'"),
        (
            ["-m", "a", "-t", "b:cpu", "--variant", "c,d", "--scenario", "e,f"],
            "'a'|'b'|'c'|'d'|'e'|'f'",
        ),
        (["two-wrong.toml"], "`modls` is not a known key|`trgets` is not a known key"),
        (["-m", "cut.onnx"], "not a valid ONNX model"),
        (["-m", "text.onnx"], "not a valid ONNX model"),
        (["wrong-key.toml"], "wrong-key.toml: `modls` is not a known key. Did you mean `models`?"),
        (["wrong-type.toml"], "wrong-type.toml: `threads` is 'two', but should be a valid integer"),
        (["absent.toml"], "no such suite file"),
        (["-m", "ok.onnx", "--batch", "8", "--scenario", "single-stream"], "--batch contradicts"),
        (["--resume", "absent"], "not a run directory"),
        (["--resume", "absent", "--seed", "3"], "leave out"),
        (["-m", "ok.onnx", "--results", "ok.onnx/runs"], "a run can't be written there"),
        (["-m", "ok.onnx", "--precision", "0"], "must be above 0"),
        (["-m", "ok.onnx", "--max-time", "0.01"], "is too short for"),
        (["-m", "sequence.onnx"], "Give it: --shape foo=128"),
        (["-m", "ok.onnx", "-t", "not a target"], "not of the form backend:device"),
    ],
)
def test_a_mistake_is_one_clear_sentence(
    bench: Any, tmp_path: Path, doubling_model: Path, arguments: list[str], words: str
) -> None:
    data = doubling_model.read_bytes()
    (tmp_path / "ok.onnx").write_bytes(data)
    (tmp_path / "cut.onnx").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.onnx").write_text("this is no model")
    (tmp_path / "sequence.onnx").write_bytes(data.replace(b"\x08\x04", b"\x12\x03seq", 1))
    _write_sequence_model(tmp_path / "sequence.onnx")
    (tmp_path / "wrong-key.toml").write_text('modls = ["a"]')
    (tmp_path / "two-wrong.toml").write_text('modls = ["a"]\ntrgets = ["b"]')
    (tmp_path / "wrong-type.toml").write_text('threads = "two"')
    target = [] if "-t" in arguments or "--resume" in arguments else ["-t", STAND_IN]
    result = bench("run", *arguments, *target)
    assert result.returncode == 2, result.stdout + result.stderr
    for each in words.split("|"):
        assert each in result.stderr
    assert_one_sentence(result.stderr)
    assert result.stdout == ""


def _write_sequence_model(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "sequence",
        [value("x", TensorProto.FLOAT, ["batch", "foo"])],
        [value("y", TensorProto.FLOAT, ["batch", "foo"])],
    )
    onnx.save(helper.make_model(graph, ir_version=10), str(path))


def test_an_unexpected_error_is_a_traceback_only_with_debug(bench: Any, tmp_path: Path) -> None:
    plain = bench("run", "-m", "absent.onnx")
    debug = bench("--debug", "run", "-m", "absent.onnx")
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
