"""fleet.json of a merged run: what is written is read, and names lead nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_records import a_cell
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import SpecError
from bench.spec import Suite
from bench.store.merged import (
    FILE,
    MergedMachine,
    MergedRun,
    machine_folder,
    read_merged,
    write_merged,
)

MERGED = MergedRun(
    made_by="fleet",
    created_at="2026-01-01T00:00:00+00:00",
    label="the lab",
    machines=(MergedMachine(name="server", runs=("machines/server",)),),
    suite=Suite(models=("a",)),
    plan=(a_cell(),),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_merged(tmp_path, MERGED)
    assert read_merged(tmp_path) == MERGED


def test_a_folder_without_the_file_is_no_merged_run(tmp_path: Path) -> None:
    assert read_merged(tmp_path) is None
    assert read_merged(tmp_path / "absent") is None


def test_one_of_a_newer_bench_is_refused(tmp_path: Path) -> None:
    write_merged(tmp_path, MERGED.model_copy(update={"schema_version": 2}))
    with pytest.raises(SpecError, match="schema version is 2, this bench reads up to 1"):
        read_merged(tmp_path)


def test_fields_that_a_later_bench_adds_are_left_out(tmp_path: Path) -> None:
    data = {**MERGED.model_dump(mode="json"), "leases": 3}
    (tmp_path / FILE).write_text(json.dumps(data))
    assert read_merged(tmp_path) == MERGED


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"schema_version": 1}', '{"schema_version": 1'])
def test_a_broken_one_is_one_sentence_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(SpecError, match=f"{FILE}: "):
        read_merged(tmp_path)


def test_a_plain_name_is_the_folder(tmp_path: Path) -> None:
    assert machine_folder(tmp_path, "gpu-1.lab") == tmp_path / "machines" / "gpu-1.lab"


@given(st.text(), st.text())
def test_each_name_has_a_folder_of_its_own_below_machines(one: str, other: str) -> None:
    folders = [machine_folder(Path("m"), name) for name in (one, other)]
    assert all(folder.parent == Path("m/machines") for folder in folders)
    assert all(len(folder.name) < 100 and folder.name.strip(".") for folder in folders)
    alike = folders[0].name.lower() == folders[1].name.lower()
    assert alike == (one == other)


def test_names_that_differ_in_case_alone_have_folders_that_differ_in_more() -> None:
    one, other = (machine_folder(Path(), name).name for name in ("Server", "server"))
    assert one.lower() != other.lower()
    assert one.startswith("Server-")
