"""Where several machines are shown each has its name; where there is one, nothing becomes wider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from compared_runs import MACHINE, on_disk
from fake_records import a_cell, a_record

import bench
from bench.commands.cli import cli


def a_run(folder: Path, machine: str, **changes: Any) -> Path:
    facts = {**MACHINE, "hostname_hash": machine[:2] * 4}
    return on_disk(
        folder / "runs", [a_record(accuracy=None)], facts=facts, machine_name=machine, **changes
    ).path


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Two hosts of one CPU; a run of the second lies between two of the first."""
    for day, machine in enumerate(("quokka", "numbat", "quokka"), 1):
        a_run(tmp_path, machine, created_at=f"2026-01-0{day}T00:00:00+00:00", label=f"day {day}")
    return tmp_path


def invoke(*arguments: object) -> str:
    done = CliRunner().invoke(cli, [str(one) for one in arguments], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    return done.stdout


def test_show_puts_the_runs_of_a_machine_below_its_name(lab: Path) -> None:
    lines = invoke("show", lab).splitlines()
    kinds = [line for line in lines if line.startswith(("Machine ", "Run ", "day "))]
    assert [line for line in kinds if not line.startswith("Run ")] == [
        *("Machine quokka", "day 1", "day 3"),
        *("Machine numbat", "day 2"),
    ]
    assert [line[:3] for line in kinds].count("Run") == 3


def test_show_of_one_machine_says_no_name(tmp_path: Path) -> None:
    said = invoke("show", a_run(tmp_path, "quokka"))
    assert "quokka" not in said


def test_rows_always_have_the_machine(tmp_path: Path) -> None:
    found = json.loads(invoke("show", a_run(tmp_path, "quokka", label="mine"), "--json"))
    assert (found["machine"], found["label"]) == ("quokka", "mine")
    assert [row["machine"] for row in found["results"]] == ["quokka"]


def test_history_has_a_series_for_each_host_and_says_which(lab: Path) -> None:
    said = " ".join(invoke("history", lab).split())
    assert "quokka (AMD EPYC): 2 runs" in said
    assert "numbat (AMD EPYC): 1 run," in said
    rows = json.loads(invoke("history", lab, "--json"))["series"]
    assert [row["machine"] for row in rows] == ["quokka", "numbat"]


def test_history_of_one_machine_says_its_hardware_as_ever(tmp_path: Path) -> None:
    said = invoke("history", a_run(tmp_path, "quokka"))
    assert "machine 0123456789ab (AMD EPYC)" in said
    assert "quokka" not in said


def test_loaded_tables_have_machine_and_label(lab: Path) -> None:
    table = bench.load(lab)
    assert list(zip(table.machine, table.label, strict=True)) == [
        ("quokka", "day 1"), ("numbat", "day 2"), ("quokka", "day 3")
    ]  # fmt: skip


def test_two_hosts_of_one_name_are_told_apart_wherever_a_machine_is_named(tmp_path: Path) -> None:
    """In tables of many runs and in a comparison's data as in its words: none is named alone."""
    alone = a_cell(scenario="offline", batch=8)
    for day, (host, cell) in enumerate((("gold", alone), ("red", None), ("blue", None)), 1):
        facts = {**MACHINE, "hostname_hash": host[:2] * 4, "machine_id": f"{host:0>12}"}
        created = f"2026-01-0{day}T00:00:00+00:00"
        record = a_record(cell, accuracy=None)
        on_disk(tmp_path, [record], facts=facts, machine_name="server", created_at=created)
    every = ["server", "server (2)", "server (3)"]
    assert bench.load(tmp_path).machine.tolist() == every
    assert [run["machine"] for run in json.loads(invoke("show", tmp_path, "--json"))] == every
    found = json.loads(invoke("compare", tmp_path, "--baseline", "server (2)", "--json"))
    # The first has no cell in common with the others, and is a server all the same.
    assert [found[side]["machine"] for side in "ab"] == found["machines"] == every[1:]
    (row,) = found["comparisons"]
    assert [row[side]["machine"] for side in "ab"] == every[1:]
    out = tmp_path / "out.json"
    invoke("results", "export", tmp_path, "-o", out)
    assert [row["machine"] for row in json.loads(out.read_text())] == every
