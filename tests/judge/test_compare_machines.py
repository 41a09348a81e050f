"""Cells of several machines against each other: absolute figures, unpaired, no list of allowances;
what can't be compared is said once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from compared_runs import MACHINE, in_memory, measured, on_disk
from fake_records import STUDENT, TEACHER, a_cell

from bench.cell import Cell
from bench.commands.cli import cli
from bench.errors import SpecError
from bench.judge.compare import compare
from bench.judge.differences import comparable_ones, differences
from bench.judge.matching import match_machines
from bench.record.result import Record
from bench.store.run import StoredRun

CELLS = [a_cell(model, target) for model in (TEACHER, STUDENT) for target in ("x:cpu", "y:cpu")]


def facts(host: str) -> dict[str, Any]:
    digest = hashlib.sha256(host.encode()).hexdigest()[:8]
    return {**MACHINE, "hostname_hash": digest, "machine_id": digest, "cpu_model": f"CPU of {host}"}


def records(speed: float, cells: Sequence[Cell] = CELLS, **changes: Any) -> list[Record]:
    times = [1e6 / speed * wobble for wobble in (1, 1.01, 0.99, 1.005, 0.995, 1.0)]
    return [
        measured(times, cell, canary_ns=[5e4 / speed**0.5] * 6, device_name=f"{speed}", **changes)
        for cell in cells
    ]


def runs(tmp_path: Path, **speeds: float) -> list[Path]:
    return [
        on_disk(
            tmp_path / name, records(speed), facts=facts(name), machine_name=name,
            created_at=f"2026-01-0{place}T00:00:00+00:00",
        ).path
        for place, (name, speed) in enumerate(speeds.items(), 1)
    ]  # fmt: skip


def held(name: str, found: Sequence[Record]) -> dict[str, list[StoredRun]]:
    return {name: [in_memory(found, name, facts=facts(name), machine_name=name)]}


def invoke(*arguments: object, width: int = 80) -> Result:
    done = CliRunner().invoke(cli, ["compare", *map(str, arguments)], env={"COLUMNS": str(width)})
    assert done.exit_code == 0, done.output
    return done


def flat(text: str) -> str:
    return " ".join(text.split())


def test_two_machines_are_compared_without_an_allowance(tmp_path: Path) -> None:
    done = invoke(*runs(tmp_path, red=1.0, blue=2.0))
    said = flat(done.stdout)
    assert "red: " in said
    assert "blue: " in said
    assert "machine: red / blue (CPU of red / CPU of blue)" in said
    assert "not comparable" not in said
    assert "between machines (time ratio below 1: blue is faster)" in said
    assert "blue is faster than red in 4 of 4 comparisons." in said
    assert "Different machines can't measure in turn: Welch's interval." in said
    assert "took 0.71x" in said, "the canary of both is shown beside"
    assert "as long on blue as on red" in said


def test_thread_counts_and_devices_of_machines_are_told() -> None:
    more = [a_cell(c.model, c.target, threads=8) for c in CELLS]
    both = held("red", records(1.0)) | held("blue", records(2.0, more))
    matched, said = comparable_ones(match_machines(both, "red"), ())
    assert said == ""
    assert {d.kind: d.refused for d in differences(matched)} == {
        "machine": False, "device": False, "threads": False
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "words", "change"),
    [
        ("input", "input data", {"input_sha256": "f" * 64}),
        ("shape", "input shape", {"shapes": {"image": (1, 1, 32, 32)}}),
        ("lane", "lane", {"lane": "api"}),
        ("model", "model content", {}),
    ],
)
def test_what_can_not_be_compared_is_said_once_and_the_rest_is_compared(
    kind: str, words: str, change: dict[str, Any]
) -> None:
    other = STUDENT.model_copy(update={"sha256": "9" * 64}) if kind == "model" else STUDENT
    theirs = [*CELLS[:2], *(a_cell(other, c.target, **change) for c in CELLS[2:])]
    both = held("red", records(1.0)) | held("blue", records(2.0, theirs))
    matched, said = comparable_ones(match_machines(both, "red"), ())
    assert [m.b.cell.model.name for m in matched.matches] == [TEACHER.name] * 2
    assert said.startswith("2 of 4 cells aren't compared between the machines")
    assert words in said
    assert said.endswith(f"To compare anyway: --allow {kind}.")
    again, nothing = comparable_ones(match_machines(both, "red"), [kind])
    assert (len(again.matches), nothing) == (4, "")


def test_where_nothing_is_left_it_is_one_sentence() -> None:
    theirs = [a_cell(c.model, c.target, input_sha256="f" * 64) for c in CELLS]
    both = held("red", records(1.0)) | held("blue", records(2.0, theirs))
    with pytest.raises(SpecError, match=r"^No cell is compared .* in input data\. To .* input\.$"):
        comparable_ones(match_machines(both, "red"), ())


def test_no_pair_is_made_across_machines() -> None:
    both = held("red", records(1.0)) | held("blue", records(1.0))
    report = compare(match_machines(both, "red"))
    assert [effect.paired for effect in report.effects] == [False] * 4
    assert all(effect.drift is None and effect.canary for effect in report.effects)


def test_each_machine_of_a_folder_is_compared_with_the_first(tmp_path: Path) -> None:
    runs(tmp_path, red=1.0, blue=2.0, green=0.5)
    said = flat(invoke(tmp_path).stdout)
    assert "blue: " in said, "the first by name of its folder"
    assert "red is slower than blue in 4 of 4 comparisons." in said
    assert "green is slower than blue in 4 of 4 comparisons." in said
    assert "green: x:cpu" in said


def test_the_baseline_is_chosen_by_name(tmp_path: Path) -> None:
    runs(tmp_path, red=1.0, blue=2.0, green=0.5)
    rows = json.loads(invoke(tmp_path, "--baseline", "green", "--json").stdout)
    assert rows["machines"] == ["green", "blue", "red"]
    assert {row["a"]["machine"] for row in rows["comparisons"]} == {"green"}
    wrong = CliRunner().invoke(cli, ["compare", str(tmp_path), "--baseline", "gren"])
    assert str(wrong.exception) == "--baseline gren: the machines are blue, green, red."


def test_several_runs_of_a_machine_are_one_side() -> None:
    """Of a cell that several of them measured, the latest counts."""
    (one,) = held("red", records(1.0, CELLS[:2]))["red"]
    changed = {"facts": facts("red"), "created_at": "2026-02-01T00:00:00+00:00"}
    later = in_memory(records(3.0, CELLS[1:3]), "red2", **changed)
    found = match_machines({"red": [later, one], **held("blue", records(2.0))}, "red")
    assert [match.a.run.path.name for match in found.matches] == ["red", "red2", "red2"]


def test_one_machine_says_nothing_of_machines(tmp_path: Path) -> None:
    run = on_disk(tmp_path, records(1.0), facts=facts("quokka"), machine_name="quokka")
    said = flat(invoke(run.path, width=500).stdout).replace(str(run.path), "")
    assert "quokka" not in said
    assert "machine" not in said


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(tmp_path: Path, width: int) -> None:
    runs(tmp_path, **{"a-machine-with-a-long-name-01": 1.0, "b": 2.0, "c": 3.0})
    assert all(len(line) <= width for line in invoke(tmp_path, width=width).stdout.splitlines())
