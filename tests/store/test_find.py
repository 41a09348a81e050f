"""Run directories are found wherever they were copied to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from compared_runs import a_header, on_disk
from fake_records import STUDENT, TEACHER, a_cell, a_record

from bench.errors import SpecError
from bench.store.find import find_runs, only_run, without_copies
from bench.store.run import read_run
from bench.store.write import RunStore


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two runs at different depths among files that are none."""
    on_disk(tmp_path / "results" / "ci" / "linux", [a_record(a_cell(TEACHER))], command="1")
    on_disk(tmp_path / "results", [a_record(a_cell(STUDENT))], command="2")
    (tmp_path / "results" / "notes.txt").write_text("x")
    return tmp_path / "results"


def test_runs_are_found_at_any_depth_and_by_pattern(results: Path) -> None:
    both = find_runs([results])
    assert len(both) == 2
    assert sorted(find_runs([results / "*"])) == sorted(both)
    deepest = find_runs([results / "ci"])
    assert find_runs([results / "ci", results, both[0]])[:1] == deepest
    assert len(find_runs([results / "ci", results, both[0]])) == 2


def test_a_folder_with_one_run_is_as_good_as_the_run(results: Path) -> None:
    (run,) = find_runs([results / "ci"])
    assert only_run(results / "ci") == run
    assert read_run(results / "ci").path == run


def test_a_folder_with_several_runs_is_not_one(results: Path) -> None:
    with pytest.raises(SpecError, match=r"holds 2 runs \(.*\)\. Name one"):
        read_run(results)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere", "no such folder"),
        ("nowhere/*", "no such folder"),
        ("results/*.txt", "nothing that matches"),
        ("results/notes.txt", "neither a run directory nor a bundle"),
        ("empty", "none below it"),
    ],
)
def test_what_holds_no_run_is_one_sentence(
    path: str, words: str, results: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match=words):
        find_runs([tmp_path / path])


def test_a_folder_whose_name_is_a_pattern_is_taken_as_it_is(tmp_path: Path) -> None:
    run = on_disk(tmp_path / "a[1]", [a_record()])
    assert find_runs([tmp_path / "a[1]"]) == [run.path]


def test_a_loop_of_links_ends(results: Path) -> None:
    (results / "loop").symlink_to(results)
    assert len(find_runs([results])) == 2


def test_a_copy_of_a_run_counts_once_and_the_longer_one_stays(results: Path) -> None:
    (run,) = find_runs([results / "ci"])
    shutil.copytree(run, results / "backup")
    store = RunStore(run)
    store.append_record(a_record(a_cell(STUDENT)))
    store.close()
    kept, notes = without_copies(find_runs([results]))
    assert len(kept) == 2
    assert run in kept
    assert notes == [f"{results / 'backup'}: left out: a copy of {run}"]


def test_runs_that_began_alike_and_measured_something_else_are_no_copies(tmp_path: Path) -> None:
    paths = []
    for median_ns in (1e5, 2e5):
        store = RunStore.create(tmp_path, a_header([a_cell()]))
        store.append_record(a_record(a_cell(), median_ns))
        store.close()
        paths.append(store.path)
    assert without_copies(paths) == (paths, [])
