"""What is read of a run is in memory once, and packed where nobody looks at it yet."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from compared_runs import a_header  # type: ignore[import-not-found]
from fake_records import TEACHER, a_cell, a_record  # type: ignore[import-not-found]

from bench import load
from bench.record.result import Record
from bench.store import lines
from bench.store.run import read_results, read_run
from bench.store.write import RunStore


def a_run(results: Path, count: int) -> Path:
    records = [
        a_record(a_cell(TEACHER, target=f"onnxruntime:cpu?x={n}"), 1e6 + n, None)
        for n in range(count)
    ]
    store = RunStore.create(results, a_header([r.cell for r in records]))
    for record in records:
        store.append_record(record)
    store.close()
    return store.path


def held(path: Path) -> int:
    """Bytes that are still held after reading."""
    tracemalloc.start()
    run = read_results(path)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert run.records
    return size


def test_values_share_the_names_of_their_given_fields(tmp_path: Path) -> None:
    one, two = read_run(a_run(tmp_path, 2)).records
    assert one.__pydantic_fields_set__ is two.__pydantic_fields_set__
    assert one.cell.model is two.cell.model
    first, second = one.invocations[:2]
    assert first.__pydantic_fields_set__ is second.__pydantic_fields_set__
    changed = one.model_copy(update={"group": "g"})
    assert "group" in changed.model_fields_set
    assert "group" not in two.model_fields_set - one.model_fields_set


def test_the_cell_of_a_record_is_that_of_the_plan(tmp_path: Path) -> None:
    run = read_run(a_run(tmp_path, 2))
    assert run.records[1].cell is run.header.cells[1]


def test_packed_invocations_are_those_that_were_written(tmp_path: Path) -> None:
    path = a_run(tmp_path, 1)
    (whole,), (packed,) = read_run(path).records, read_results(path).records
    assert isinstance(whole.invocations, tuple)
    assert not isinstance(packed.invocations, tuple)
    assert len(packed.invocations) == len(whole.invocations) > 1
    assert tuple(packed.invocations) == whole.invocations
    assert packed.invocations[0] == whole.invocations[0]
    assert packed == whole


def test_what_is_only_looked_at_takes_less_memory_a_record_than_its_line_takes_bytes(
    tmp_path: Path,
) -> None:
    few, many = a_run(tmp_path / "few", 50), a_run(tmp_path / "many", 250)
    read_results(few)
    a_record_more = (held(many) - held(few)) / 200
    line = (many / "records.jsonl").stat().st_size / 250
    assert a_record_more < 1.5 * line


def test_a_file_of_lines_is_not_read_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_run(tmp_path, 3)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read as a whole"))
    assert len(list(lines.read_records(path, 1, []))) == 3


def test_load_holds_no_record_once_its_row_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_run(tmp_path, 20)
    alive: list[int] = []
    count = 0
    read = Record.model_validate_json

    class Counted(Record):
        def __del__(self) -> None:
            nonlocal count
            count -= 1

    def validated(line: bytes) -> Record:
        nonlocal count
        count += 1
        alive.append(count)
        return Counted.model_construct(**dict(read(line)))

    monkeypatch.setattr(Record, "model_validate_json", validated)
    assert np.allclose(load(path)["median_ns"], 1e6 + np.arange(20), rtol=0.5)
    assert len(alive) == 20
    assert max(alive) <= 2
