"""Faults of disks and hands: what was measured before is read, and what was skipped is said."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared_runs import a_header, in_memory
from conftest import Bench
from fake_records import STUDENT, TEACHER, a_cell, a_record, an_invocation
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench.errors import BenchError, SpecError
from bench.present.results import result_table
from bench.record import migrations
from bench.record.block import Block
from bench.record.result import Record
from bench.store import lines, run, write
from bench.store.frames import load
from bench.store.rows import result_rows
from bench.store.run import read_run
from bench.store.write import RunStore, resume_run

VERSION_1 = Path(__file__).parents[1] / "runs" / "version-1"
RECORDS = [a_record(a_cell(TEACHER.model_copy(update={"name": name}))) for name in "abc"]
LINES = [record.model_dump_json().encode() for record in RECORDS]
WHOLE = b"".join(line + b"\n" for line in LINES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A run of three records."""
    store = RunStore.create(tmp_path / "runs", a_header([r.cell for r in RECORDS]))
    (store.path / "records.jsonl").write_bytes(WHOLE)
    store.write_samples("g-0", [Block(r.cell_id, 0, 0, 0, np.array([5])) for r in RECORDS])
    store.close()
    return store.path


def names(path: Path) -> list[str]:
    return [record.cell.model.name for record in read_run(path).records]


def check_damaged(path: Path, damaged: bytes) -> None:
    """Whatever the bytes are, each whole line is read, and the run can be shown and loaded."""
    (path / "records.jsonl").write_bytes(damaged)
    stored = read_run(path)
    pieces = set(damaged.split(b"\n"))
    assert pieces & set(LINES) <= {r.model_dump_json().encode() for r in stored.records}
    if pieces <= {b"", *LINES}:
        assert stored.skipped == []
    result_table(stored.records, 80)
    result_rows(stored.records)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.integers(0, len(WHOLE) - 1), bits=st.integers(1, 255))
@example(place=0, bits=0x80)  # no longer UTF-8
@example(place=len(LINES[0]), bits=0x01)  # two lines become one
def test_a_flipped_byte_anywhere_costs_its_own_line_at_most(
    place: int, bits: int, path: Path
) -> None:
    damaged = bytearray(WHOLE)
    damaged[place] ^= bits
    check_damaged(path, bytes(damaged))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(start=st.integers(0, len(WHOLE)), length=st.integers(0, len(WHOLE)), junk=st.binary())
def test_a_piece_that_was_cut_out_or_overwritten_costs_its_own_lines(
    start: int, length: int, junk: bytes, path: Path
) -> None:
    check_damaged(path, WHOLE[:start] + junk + WHOLE[start + length :])


@pytest.mark.parametrize(
    "line", [b"null", b"[]", b"1e999", b'"x"', b"{}", b"[" * 100_000, b'{"cell_id":' * 50_000]
)
def test_a_line_that_is_json_and_no_record_is_skipped(line: bytes, path: Path) -> None:
    (path / "records.jsonl").write_bytes(WHOLE + line + b"\n")
    stored = read_run(path)
    assert len(stored.records) == 3
    assert stored.skipped == ["records.jsonl line 4: incomplete record"]


def test_records_that_are_there_twice_count_once(path: Path) -> None:
    (path / "records.jsonl").write_bytes(WHOLE + WHOLE)
    assert names(path) == ["a", "b", "c"]
    with (path / "invocations.jsonl").open("w") as file:
        for _ in range(2):
            file.write(an_invocation(0, 5e4, a_cell()).model_dump_json() + "\n")
    assert len(read_run(path).invocations) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"schema_version": 1}'])
def test_a_broken_header_loses_the_plan_and_not_the_records(content: bytes, path: Path) -> None:
    (path / "run.json").write_bytes(content)
    stored = read_run(path)
    assert [r.cell.model.name for r in stored.records] == ["a", "b", "c"]
    assert stored.header_lost
    assert stored.header.facts == {}
    assert any("run.json" in text and "records are shown" in text for text in stored.skipped)
    with pytest.raises(SpecError, match="can't be resumed"):
        resume_run(path)


def test_a_header_of_a_newer_schema_is_refused_whatever_the_records_are(path: Path) -> None:
    (path / "run.json").write_text('{"schema_version": 99}')
    with pytest.raises(SpecError, match="Update bench"):
        read_run(path)


def test_halves_of_files_are_told_and_cost_only_themselves(path: Path) -> None:
    (path / "samples" / "g-1.parquet").write_bytes(b"PAR1 half a file")
    (path / "samples" / "g-2.parquet.partial").write_bytes(b"PAR1")
    (path / "samples" / "g-3.parquet").write_bytes(b"")
    stored = read_run(path)
    assert stored.skipped == [
        "samples/g-1.parquet: incomplete Parquet file",
        "samples/g-2.parquet.partial: incomplete, because a run was stopped",
        "samples/g-3.parquet: incomplete Parquet file",
    ]
    assert stored.samples(RECORDS[0].cell_id)[0].tolist() == [5]


def test_a_parquet_file_that_is_broken_inside_costs_only_itself(path: Path) -> None:
    good = path / "samples" / "g-0.parquet"
    data = bytearray(good.read_bytes())
    data[4:40] = bytes(36)
    (path / "samples" / "g-1.parquet").write_bytes(data)
    assert read_run(path).samples(RECORDS[0].cell_id)[0].tolist() == [5]
    with pytest.warns(UserWarning, match=r"g-1\.parquet"):
        assert len(load(path, "samples")) == 3


def test_missing_samples_are_no_reason_not_to_read_a_run(path: Path) -> None:
    shutil.rmtree(path / "samples")
    stored = read_run(path)
    assert len(stored.records) == 3
    assert stored.samples(RECORDS[0].cell_id) == {}


def test_fields_of_a_later_bench_are_left_out_and_told_once(path: Path) -> None:
    lines = []
    for record in RECORDS:
        value = json.loads(record.model_dump_json()) | {"energy_j": 3.0}
        value["latency"]["p50_energy"] = 1
        lines.append(json.dumps(value) + "\n")
    (path / "records.jsonl").write_text("".join(lines))
    stored = read_run(path)
    assert stored.records == RECORDS
    (told,) = stored.skipped
    assert "energy_j" in told
    assert "p50_energy" in told
    header = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(header | {"later": True}))
    assert read_run(path).records == RECORDS


def test_an_older_schema_is_brought_up_step_by_step(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the present version were 3, and version 2 had renamed a field of the records."""
    text = WHOLE.decode().replace('"stop":', '"stopped_because":')
    (path / "records.jsonl").write_text(text)

    def renamed(data: dict[str, object]) -> dict[str, object]:
        return {("stop" if key == "stopped_because" else key): v for key, v in data.items()}

    for module in (migrations, lines, run, write):
        monkeypatch.setattr(module, "SCHEMA_VERSION", 3)
    assert read_run(path).records == []
    monkeypatch.setitem(migrations.STEPS, ("record", 1), renamed)
    stored = read_run(path)
    assert [record.stop for record in stored.records] == ["precision"] * 3
    assert stored.header.schema_version == 1
    with pytest.raises(SpecError, match="an older bench started it"):
        resume_run(path)


def _write(results: Path, name: str, count: int) -> None:
    store = RunStore.create(results, a_header([a_cell()]))
    for number in range(count):
        cell = a_cell(TEACHER.model_copy(update={"name": f"{name}-{number}"}))
        store.append_record(a_record(cell))
        store.write_samples(f"g-{number}", [Block(cell.id, 0, 0, 0, np.array([5]))])
    store.close()


def test_two_processes_in_one_results_folder_keep_out_of_each_others_way(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path, name, 20)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    table = load(tmp_path)
    assert len(table) == 40
    assert table.groupby("run").size().tolist() == [20, 20]


def _limited(bytes_a_file: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_a_file, bytes_a_file))


FILL = """
import sys
sys.path[:0] = [{tests!r}, {tests!r} + "/store"]
import test_store_faults as faults
from pathlib import Path
try:
    faults._write(Path(sys.argv[1]), "a", 1000)
except faults.BenchError as error:
    print(error)
"""


def test_a_full_disk_ends_in_one_sentence_and_every_record_before_is_whole(tmp_path: Path) -> None:
    """The limit on a file's size is what a full disk is to the writer: a write that comes short."""
    code = FILL.format(tests=str(Path(__file__).parents[1]))
    done = subprocess.run(
        # -B: Python would put what fits of a .pyc where everybody reads it.
        [sys.executable, "-B", "-c", code, str(tmp_path)],
        preexec_fn=_limited(20_000),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "writing failed" in done.stdout
    assert "free space, then resume with `bench run --resume " in done.stdout
    stored = read_run(tmp_path)
    assert len(stored.records) >= 3
    assert len(stored.skipped) <= 1  # the line that didn't fit
    for record in stored.records:
        assert stored.samples(record.cell_id)[0].tolist() == [5]
    store, _ = resume_run(tmp_path)
    store.append_record(a_record(a_cell(STUDENT)))
    store.close()
    assert read_run(tmp_path).records[-1].cell.model == STUDENT


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_sentence(path: Path) -> None:
    path.chmod(0o500)
    try:
        with pytest.raises(BenchError, match="can't be written"):
            RunStore(path)
    finally:
        path.chmod(0o700)


def test_a_run_that_another_process_writes_can_be_read(path: Path) -> None:
    store = RunStore(path)
    assert names(path) == ["a", "b", "c"]
    store.close()


def test_show_compare_and_history_say_once_what_they_skipped(bench: Bench, path: Path) -> None:
    shutil.copytree(path, path.parent / "other")
    other = path.parent / "other" / "records.jsonl"
    (path.parent / "other" / "run.json").write_text(
        (path / "run.json").read_text().replace('"command": "bench run"', '"command": "again"')
    )
    other.write_bytes(WHOLE[:-50])
    told = "records.jsonl line 3: incomplete record"
    for arguments in (("show", str(path.parent)), ("compare", str(path), str(other.parent))):
        done = bench(*arguments)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(told) == 1, arguments
    done = bench("show", "--history", str(path.parent), "--model", "a")
    assert done.stderr.count(told) == 1
    assert "2 runs" in done.stdout


def known_in(value: Any, like: Any) -> Any:
    """``value`` without the fields that ``like`` does not have, all the way down."""
    if isinstance(like, dict):
        return {key: known_in(value[key], item) for key, item in like.items()}
    if isinstance(like, list):
        return [known_in(one, other) for one, other in zip(value, like, strict=True)]
    return value


def test_a_record_of_the_fixture_is_as_it_was_written() -> None:
    line = (VERSION_1 / "records.jsonl").read_text().splitlines()[-1]
    (record,) = read_run(VERSION_1).records
    written = json.loads(line)
    again = json.loads(record.model_dump_json())
    assert known_in(again, written) == written
    assert isinstance(record, Record)
    assert in_memory([record]).records == [record]
