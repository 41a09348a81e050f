"""`bench results mlperf pack`: the folder that MLPerf's checker reads, and its verdict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from compared_runs import on_disk
from fake_records import STUDENT, a_cell, a_record, an_invocation

from bench.__main__ import main
from bench.cell import LoadGen
from bench.commands.cli import cli
from bench.machine.gpus import Gpu
from bench.record.loadgen import LoadGenSaid
from bench.record.result import Record
from bench.store.mlperf.system import describe_system
from bench.store.run import StoredRun

LONG = json.dumps([{"seq_id": n, "qsl_idx": n, "data": "00FF"} for n in range(400)])


def a_test(number: int, *, valid: bool, scenario: str = "SingleStream") -> LoadGenSaid:
    return LoadGenSaid(
        version="6.0.17 @ d6147c7eb7",
        scenario=scenario,
        logs=f"loadgen/tests/run_{number}",
        valid=valid,
        why=() if valid else ("min_duration is not reached",),
        queries=900,
        figure=1e6,
        traced=True,
        call_ns=9e5,
    )


def driven(tests: Sequence[LoadGenSaid], batch: int = 1, scenario: str = "single-stream") -> Record:
    cell = a_cell(STUDENT, "x:cpu", scenario, batch, loadgen=LoadGen(min_duration=500))
    invocations = tuple(
        an_invocation(n, 271_000, cell).model_copy(update={"loadgen": told})
        for n, told in enumerate(tests)
    )
    return a_record(cell, invocations=invocations, accuracy=0.884)


def stored(folder: Path, *records: Record) -> StoredRun:
    """With the logs that LoadGen would have left."""
    run = on_disk(folder, records)
    for record in records:
        for one in record.invocations:
            if one.loadgen is not None:
                write_logs(run.path / one.loadgen.logs, one.loadgen.logs)
        write_logs(run.path / "loadgen" / record.cell_id / "accuracy", "accuracy")
    return run


def write_logs(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mlperf_log_summary.txt").write_text(f"summary of {text}")
    (folder / "mlperf_log_detail.txt").write_text(f"detail of {text}")
    (folder / "mlperf_log_accuracy.json").write_text(LONG)


def pack(run: StoredRun, folder: Path, *more: str) -> Any:
    arguments = [
        "results",
        "mlperf",
        "pack",
        str(run.path),
        "-o",
        str(folder),
        "--submitter",
        "Acme",
    ]
    return CliRunner().invoke(cli, [*arguments, *more])


@pytest.fixture
def run(tmp_path: Path) -> StoredRun:
    return stored(tmp_path / "runs", driven([a_test(1, valid=False), a_test(2, valid=True)]))


RESULT = "open/Acme/results/x-cpu-*/fashion-student/SingleStream"


def result(folder: Path) -> Path:
    (found,) = folder.glob(RESULT)
    return found


def test_a_pack_has_the_files_that_the_checker_asks_for(run: StoredRun, tmp_path: Path) -> None:
    done = pack(run, tmp_path / "pack", "--benchmark", "resnet")
    assert done.exit_code == 0, done.output
    at = result(tmp_path / "pack")
    names = {str(path.relative_to(at)) for path in at.rglob("*") if path.is_file()}
    assert names == {
        "performance/run_1/mlperf_log_summary.txt",
        "performance/run_1/mlperf_log_detail.txt",
        "accuracy/mlperf_log_summary.txt",
        "accuracy/mlperf_log_detail.txt",
        "accuracy/mlperf_log_accuracy.json",
        "accuracy/accuracy.txt",
        "measurements.json",
        "user.conf",
        "README.md",
    }
    top = tmp_path / "pack" / "open" / "Acme"
    assert (top / "src" / "fashion-student" / "README.md").is_file()
    assert json.loads((top / "model_mapping.json").read_text()) == {"fashion-student": "resnet"}
    system = json.loads((top / "systems" / f"{at.parents[1].name}.json").read_text())
    assert (system["submitter"], system["division"], system["status"]) == ("Acme", "open", "rdi")
    assert system["host_processor_model_name"] == "AMD EPYC"


def test_the_test_that_stands_for_a_cell_is_the_first_valid_one(
    run: StoredRun, tmp_path: Path
) -> None:
    pack(run, tmp_path / "pack")
    kept = result(tmp_path / "pack") / "performance" / "run_1" / "mlperf_log_detail.txt"
    assert kept.read_text() == "detail of loadgen/tests/run_2"


def test_the_accuracy_log_is_cut_and_its_digest_is_that_of_the_whole(
    run: StoredRun, tmp_path: Path
) -> None:
    pack(run, tmp_path / "pack")
    accuracy = result(tmp_path / "pack") / "accuracy"
    cut = (accuracy / "mlperf_log_accuracy.json").read_text()
    assert len(LONG) > 10 * 1024 > len(cut), "more than 10 KiB is not truncated for the checker"
    assert cut == f"{LONG[:4096]}\n\n...\n\n{LONG[-4096:]}"
    score, digest = (accuracy / "accuracy.txt").read_text().splitlines()
    assert score == "accuracy=88.400%, good=8840, total=10000"
    assert digest == f"hash={hashlib.sha256(LONG.encode()).hexdigest()}"


def test_settings_and_training_are_told_in_mlperfs_words(run: StoredRun, tmp_path: Path) -> None:
    pack(run, tmp_path / "pack")
    at = result(tmp_path / "pack")
    conf = (at / "user.conf").read_text().splitlines()
    assert "*.SingleStream.min_duration = 500" in conf
    assert "*.SingleStream.qsl_rng_seed = 2085463073848966840" in conf
    told = json.loads((at / "measurements.json").read_text())
    assert told["retraining"] == "Yes: distilled from fashion-teacher"
    assert all(told.values()), "an empty field is none to the checker"


def test_nothing_is_called_a_submission_or_a_result(run: StoredRun, tmp_path: Path) -> None:
    done = pack(run, tmp_path / "pack")
    assert "not a submission, and not an MLPerf result" in done.output
    for path in (tmp_path / "pack" / "NOTICE.txt", result(tmp_path / "pack") / "README.md"):
        assert "result not verified by MLCommons Association" in path.read_text()


@pytest.mark.parametrize(
    ("name", "capacity"),
    [("NVIDIA L4", "24.0 GiB"), ("NVIDIA A100", "unknown"), ("CUDA device", "unknown")],
)
def test_the_memory_of_an_accelerator_is_that_of_the_gpu_that_was_measured(
    tmp_path: Path, name: str, capacity: str
) -> None:
    """Whatever else is in the machine; unknown where one of that name has another size."""
    gpus = [("NVIDIA L4", 24), ("NVIDIA A100", 40), ("NVIDIA A100", 80), ("NVIDIA H200", 141)]
    facts = {"gpus": [asdict(Gpu(name=n, driver="580", memory_bytes=g * 2**30)) for n, g in gpus]}
    record = a_record(a_cell(STUDENT, "x:cuda:0"), device_name=name)
    run = on_disk(tmp_path, [record], facts=facts)
    found = describe_system(run, record, {}, {})
    assert found["accelerator_memory_capacity"] == capacity
    assert found["accelerator_model_name"] == name


def test_what_bench_does_not_know_of_a_system_may_be_given(run: StoredRun, tmp_path: Path) -> None:
    file = tmp_path / "system.json"
    file.write_text(json.dumps({"cooling": "air"}))
    pack(run, tmp_path / "pack", "--system-json", str(file), "--status", "available")
    (path,) = (tmp_path / "pack").glob("open/Acme/systems/*.json")
    system = json.loads(path.read_text())
    assert (system["cooling"], system["status"]) == ("air", "available")
    assert system["host_networking"] == "unknown"


def test_an_invalid_test_is_packed_as_what_it_is(tmp_path: Path) -> None:
    run = stored(tmp_path / "runs", driven([a_test(1, valid=False)]))
    done = pack(run, tmp_path / "pack")
    assert "INVALID: min_duration is not reached" in done.output
    assert "INVALID" in (result(tmp_path / "pack") / "README.md").read_text()


def refusal(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["results", "mlperf", "pack", *arguments, "--submitter", "Acme"]) != 0
    return capsys.readouterr().err


def test_a_run_of_our_own_engine_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = on_disk(tmp_path / "runs", [a_record()])
    assert "--driver loadgen" in refusal([str(run.path), "-o", str(tmp_path / "pack")], capsys)
    assert not (tmp_path / "pack").exists()


def test_two_cells_that_would_be_one_result_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = [a_test(1, valid=True, scenario="Offline")]
    records = [driven(tests, batch, "offline") for batch in (8, 32)]
    run = stored(tmp_path / "runs", *records)
    words = refusal([str(run.path), "-o", str(tmp_path / "pack")], capsys)
    assert "--cell" in words
    done = pack(run, tmp_path / "pack", "--cell", records[1].cell_id)
    assert done.exit_code == 0, done.output


def test_a_folder_that_holds_something_is_not_touched(
    run: StoredRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "mine").touch()
    words = refusal([str(run.path), "-o", str(tmp_path / "pack")], capsys)
    assert "already exists" in words


# -- the checker ----------------------------------------------------------------------------------

CHECKER = """
import os, sys
a = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert a["--version"] == "v6.1" and a["--submitter"] == "Acme"
assert os.path.isdir(a["--input"] + "/open/Acme/results")
for line in {lines!r}:
    print(line.format(pack=a["--input"]), file=sys.stderr)
sys.exit({code})
"""


def a_clone(folder: Path, lines: Sequence[str], code: int) -> Path:
    package = folder / "tools" / "submission" / "submission_checker"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "main.py").write_text(CHECKER.format(lines=list(lines), code=code))
    return folder


def test_the_checkers_verdict_is_printed_with_its_complaints(
    run: StoredRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        "[2026-01-01 00:00:00,123 base.py:59 INFO] Starting performance checks",
        "[2026-01-01 00:00:00,123 performance_check.py:377 ERROR] {pack}/open/x is too short",
        "ERROR:main:NoResults {pack}/open/x",
        "[2026-01-01 00:00:00,123 main.py:9 ERROR] SUMMARY: submission has errors",
    ]
    clone = a_clone(tmp_path / "clone", lines, 1)
    asked = ["-o", str(tmp_path / "pack"), "--submitter", "Acme", "--checker", str(clone)]
    assert main(["results", "mlperf", "pack", str(run.path), *asked]) == 1
    printed = capsys.readouterr().out
    assert "The submission checker (v6.1): submission has errors." in printed
    assert "- open/x is too short" in printed
    assert "- NoResults open/x" in printed
    assert "Starting" not in printed


def test_a_checker_that_is_content_ends_with_success(run: StoredRun, tmp_path: Path) -> None:
    lines = ["[2026-01-01 00:00:00,123 main.py:9 INFO] SUMMARY: submission looks OK"]
    clone = a_clone(tmp_path / "clone", lines, 0)
    done = pack(run, tmp_path / "pack", "--checker", str(clone / "tools" / "submission"))
    assert (done.exit_code, "looks OK" in done.output) == (0, True)


def test_a_checker_that_breaks_has_no_verdict(
    run: StoredRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = a_clone(tmp_path / "clone", ["Traceback", "KeyError: 'v6.1'"], 1)
    arguments = [str(run.path), "-o", str(tmp_path / "pack"), "--checker", str(clone)]
    words = refusal(arguments, capsys)
    assert "without a verdict: KeyError: 'v6.1'" in words


def test_a_folder_without_a_checker_is_told_before_anything_is_written(
    run: StoredRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(run.path), "-o", str(tmp_path / "pack"), "--checker", str(tmp_path)]
    assert "github.com/mlcommons/inference" in refusal(arguments, capsys)
    assert not (tmp_path / "pack").exists()
