"""The store: whatever happens to the file system, what was measured stays readable."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_records import TEACHER, a_cell, a_record, an_invocation
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError, SpecError
from bench.record.block import Block
from bench.record.facts import CellFacts, WorkerFacts
from bench.record.header import RunHeader
from bench.record.result import Record
from bench.spec import Suite
from bench.store.outputs import MOST_BYTES, read_outputs
from bench.store.predictions import read_predictions
from bench.store.raw import read_raw
from bench.store.run import read_run
from bench.store.write import RunStore, resume_run


def record(name: str = "a") -> Record:
    return a_record(a_cell(TEACHER.model_copy(update={"name": name})))


def header() -> RunHeader:
    return RunHeader(
        bench_version="0",
        created_at="2026-01-01T00:00:00+00:00",
        command="bench run",
        suite=Suite(models=("a",)),
        targets=("onnxruntime:cpu",),
        models=("a",),
        facts={"cpu": "x"},
        cells=(a_cell(),),
        keeps_raw=True,
    )


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore.create(tmp_path / "runs", header())


def test_what_is_written_is_read_back(store: RunStore) -> None:
    store.append_record(record())
    store.append_invocations([an_invocation(index, 5e4, a_cell()) for index in (0, 1)])
    stored = read_run(store.path)
    assert stored.records == [record()]
    assert [i.index for i in stored.invocations] == [0, 1]
    assert stored.header == header()
    assert stored.skipped == []


def test_a_truncated_last_line_is_skipped_and_told(store: RunStore) -> None:
    store.append_record(record("a"))
    store.append_record(record("b"))
    path = store.path / "records.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 40])
    stored = read_run(store.path)
    assert [r.cell.model.name for r in stored.records] == ["a"]
    assert stored.skipped == ["records.jsonl line 2: incomplete record"]


def test_a_record_after_a_truncated_line_is_not_lost(store: RunStore) -> None:
    store.append_record(record("a"))
    path = store.path / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    store.append_record(record("b"))
    stored = read_run(store.path)
    assert [r.cell.model.name for r in stored.records] == ["b"]
    assert len(stored.skipped) == 1


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, 5000))
def test_a_file_cut_anywhere_keeps_its_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    store = RunStore.create(tmp_path_factory.mktemp("cut"), header())
    for name in "abc":
        store.append_record(record(name))
    path = store.path / "records.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    whole = data[:cut].count(b"\n") + (cut < len(data) and data[cut : cut + 1] == b"\n")
    assert len(read_run(store.path).records) == whole
    store.close()


def test_samples_are_read_back_by_invocation(store: RunStore) -> None:
    first = np.array([5, 6, 7], np.int64)
    blocks = [
        Block("one", 0, 0, 0, first),
        Block("two", 0, 0, 1, np.array([9], np.int64)),
        Block("one", 0, 1, 0, first + 1, disturbed=True),
    ]
    store.write_samples("g-0000", blocks)
    store.write_samples("g-0001", [Block("one", 1, 0, 0, first * 2)])
    found = read_run(store.path).samples("one")
    assert {k: v.tolist() for k, v in found.items()} == {0: [5, 6, 7], 1: [10, 12, 14]}


def test_a_half_written_sample_file_loses_only_itself(store: RunStore) -> None:
    store.write_samples("g-0000", [Block("one", 0, 0, 0, np.array([5], np.int64))])
    (store.path / "samples" / "g-0001.parquet").write_bytes(b"PAR1 half a file")
    assert list(read_run(store.path).samples("one")) == [0]


def test_predictions_are_read_back(store: RunStore) -> None:
    columns = {
        "label": np.array([1, 2, 3]),
        "in_top5": np.array([True, False, True]),
        "logits": np.arange(12, dtype=np.float32).reshape(3, 4),
    }
    name = store.write_predictions("m", columns)
    back = read_predictions(store.path / name)
    assert list(back) == list(columns)
    for key, values in columns.items():
        np.testing.assert_array_equal(back[key], values)
        assert back[key].dtype == values.dtype
    assert "logits" not in read_predictions(store.path / name, without=["logits"])


def test_two_processes_cannot_write_one_run(store: RunStore) -> None:
    with pytest.raises(SpecError, match="another bench process"):
        resume_run(store.path)
    store.close()
    again, _ = resume_run(store.path)
    again.close()


def test_a_full_disk_says_so_and_what_was_written_stays(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append_record(record("a"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BenchError, match=r"No space left on device.*--resume"):
        store.append_record(record("b"))
    with pytest.raises(BenchError, match="No space left"):
        store.write_samples("g", [Block("one", 0, 0, 0, np.array([5], np.int64))])
    monkeypatch.undo()
    assert "a" in [r.cell.model.name for r in read_run(store.path).records]
    assert not (store.path / "samples" / "g.parquet").exists()


def test_a_file_is_on_the_disk_before_it_gets_its_name(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut may leave the name with nothing, or half of it, behind."""
    done: list[str] = []
    sync, rename = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        done.append(f"{os.fstat(descriptor).st_size} bytes forced to the disk")
        sync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        done.append(f"{self.name} becomes {target.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    store.write_atomically("a", b"12345")
    assert done == ["5 bytes forced to the disk", "a.partial becomes a"]


def test_what_workers_told_is_kept_only_by_a_run_that_keeps_facts_from_its_beginning(
    tmp_path: Path,
) -> None:
    told = WorkerFacts(
        cell_id="c",
        index=0,
        load_ns=1,
        bind_ns=1,
        first_inference_ns=1,
        warmup_calls=1,
        settled=True,
        discard=1,
    )
    for keeps in (True, False):
        began = header().model_copy(update={"keeps_raw": keeps})
        RunStore.create(tmp_path / str(keeps), began).close()
        again, stored = resume_run(tmp_path / str(keeps))
        again.append_workers([told])
        again.append_facts(CellFacts(cell_id="c", stop="precision"))
        name = again.write_outputs([np.arange(3.0)])
        again.close()
        raw = read_raw(stored)
        assert list(raw.workers.values()) == [told] * keeps
        assert list(raw.cells) == ["c"] * keeps
        assert bool(name) == keeps


def test_outputs_are_read_back_and_equal_ones_are_one_file(store: RunStore) -> None:
    arrays = [np.arange(6, dtype=np.float16).reshape(2, 3), np.array(True), np.zeros((0, 4))]
    name = store.write_outputs(arrays)
    assert store.write_outputs([array.copy() for array in arrays]) == name
    assert store.write_outputs(arrays[:1]) not in ("", name)
    for mine, back in zip(arrays, read_outputs(store.path, name), strict=True):
        np.testing.assert_array_equal(mine, back)
        assert mine.dtype == back.dtype


def test_outputs_that_are_large_or_of_no_plain_type_are_not_kept(store: RunStore) -> None:
    assert store.write_outputs([np.zeros(MOST_BYTES // 8 + 1)]) == ""
    assert store.write_outputs([np.array(["text"])]) == ""
    assert list((store.path / "outputs").iterdir()) == []


def test_an_unwritable_results_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match=r"can't be written there.*--results"):
        RunStore.create(tmp_path / "file" / "runs", header())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no run.json"),
        ("{", "can't be read as a run"),
        ("[]", "schema version is None"),
        ('{"schema_version": 99}', "schema version is 99"),
        ('{"schema_version": 1}', "bench_version"),
    ],
)
def test_what_is_not_a_run_is_refused(tmp_path: Path, content: Any, words: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(SpecError, match=words):
        read_run(tmp_path)
