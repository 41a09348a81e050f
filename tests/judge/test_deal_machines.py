"""The deal over several machines: every target on each of them takes part, and no pair is made of
what was not measured in turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from compared_runs import in_memory, measured, on_disk, with_predictions
from fake_records import STUDENT, TEACHER, a_cell, a_record, an_accuracy
from test_compare_machines import facts

from bench.commands.cli import cli
from bench.judge.deal import make_deal
from bench.judge.joined import join, weigh
from bench.store.run import StoredRun

RIGHT = {"p0.parquet": np.arange(2000) % 20 != 0, "p1.parquet": np.arange(2000) % 10 != 0}


def a_run(folder: Path, machine: str, speed: float, day: int = 1, sha: str = "b" * 64) -> StoredRun:
    """A teacher and a student five times as fast, on one target."""
    found = []
    for place, (model, factor) in enumerate(((TEACHER, 5.0), (STUDENT, 1.0))):
        if model is STUDENT:
            model = model.model_copy(update={"sha256": sha})
        accuracy = an_accuracy(0.95 - 0.05 * place, 2000)
        accuracy = accuracy.model_copy(update={"predictions": f"predictions/p{place}.parquet"})
        times = [1e5 * factor / speed * wobble for wobble in (1, 1.01, 0.99, 1.005)]
        found.append(measured(times, a_cell(model, "x:cpu"), median_ns=times[0]))
        found[-1] = found[-1].model_copy(update={"accuracy": accuracy})
    run = on_disk(
        folder / machine, found, facts=facts(machine), machine_name=machine,
        created_at=f"2026-01-0{day}T00:00:00+00:00",
    )  # fmt: skip
    with_predictions(run, {name.removesuffix(".parquet"): right for name, right in RIGHT.items()})
    return run


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    a_run(tmp_path, "red", 1.0)
    a_run(tmp_path, "blue", 4.0, day=2)
    return tmp_path


def test_the_fastest_of_all_machines_is_named_with_its_machine(lab: Path) -> None:
    done = CliRunner().invoke(cli, ["show", "--deal", str(lab)], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert "The fastest overall is fashion-student x:cpu on blue" in said
    assert "On x:cpu on red the distilled fashion-student is 5.00x" in said
    assert "On x:cpu on blue the distilled fashion-student is 5.00x" in said
    assert done.stdout.count("The fastest overall is") == 1, "one answer"
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_rows_say_machine_and_target_apart(lab: Path) -> None:
    done = CliRunner().invoke(cli, ["show", "--deal", str(lab), "--json"])
    rows = json.loads(done.stdout)["points"]
    assert {(row["machine"], row["target"]) for row in rows} == {
        ("red", "x:cpu"),
        ("blue", "x:cpu"),
    }
    assert {row["cell_id"] for row in rows} == {
        a_cell(model, "x:cpu").id for model in (TEACHER, STUDENT)
    }


def test_a_run_alone_says_no_machine_in_words_and_its_machine_in_rows(tmp_path: Path) -> None:
    run = a_run(tmp_path / "x", "quokka", 1.0)
    done = CliRunner().invoke(cli, ["show", "--deal", str(run.path)])
    assert "quokka" not in done.stdout.replace(str(run.path), "")
    rows = json.loads(CliRunner().invoke(cli, ["show", "--deal", str(run.path), "--json"]).stdout)
    assert {row["machine"] for row in rows["points"]} == {"quokka"}


def test_invocations_of_two_runs_are_never_pairs(tmp_path: Path) -> None:
    """Their noise is not shared, so equal noise by number must not make an interval narrow."""
    one, other = a_run(tmp_path, "red", 1.0), a_run(tmp_path, "blue", 1.1, day=2)
    joined = join([one, other])
    indices = [{i.index for i in record.invocations} for record in joined.records]
    assert indices[0] == indices[1], "pairs within a run stay"
    assert not indices[0] & indices[2]
    deal = make_deal(joined.records, joined.changes().at)
    assert {point.standing.state for point in deal.points if "red" in point.cell.target} != {
        "front"
    }


def test_a_model_of_other_content_is_said_and_not_taken_for_the_same(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, "red", 1.0), a_run(tmp_path, "blue", 4.0, day=2, sha="9" * 64)]
    (note,) = join(runs).notes
    assert note == (
        "fashion-student is not the same model everywhere: its content is bbbbbb on red, "
        "999999 on blue."
    )


@pytest.mark.parametrize("cost", ["latency", "throughput"])
def test_of_a_model_that_was_retrained_the_latest_counts_with_its_own_accuracy(cost: Any) -> None:
    load = ("offline", 32) if cost == "throughput" else ("single-stream", 1)

    def run(day: int, sha: str, time_ns: float, accuracy: float) -> StoredRun:
        cell = a_cell(TEACHER.model_copy(update={"sha256": sha * 64}), "x:cpu", *load)
        record = a_record(cell, time_ns, accuracy)
        return in_memory([record], f"{day}", created_at=f"2026-01-0{day}T00:00:00+00:00")

    runs = [run(1, "a", 2e5, 0.7), run(2, "9", 1e5, 0.95)]
    for given in (runs, runs[::-1], [*runs, run(3, "9", 1e5, 0.95)]):
        joined = join(given)
        deal, _ = weigh(joined, cost, None)
        (point,) = deal.points
        assert point.scored is point.record
        assert point.cell.model.sha256[0] == "9"
        assert joined.notes == (
            "fashion-teacher changed between runs on AMD EPYC 0123: figures of its earlier content "
            "(aaaaaa) are left out, those of its latest (999999) count.",
        )
    back = join([*runs, run(3, "a", 2e5, 0.7)])
    assert [record.cell.model.sha256[0] for record in back.records] == ["a"]


def test_of_a_cell_that_a_machine_measured_twice_the_later_counts(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / "b", "red", 2.0, day=2), a_run(tmp_path / "a", "red", 1.0, day=1)]
    joined = join(runs)
    assert [r.cell.target for r in joined.records] == ["x:cpu"] * 2
    assert joined.records[1].latency is not None
    found = {joined.runs[id(record)].header.created_at[:10] for record in joined.records}
    assert found == {"2026-01-02"}


def test_one_run_is_weighed_as_it_is() -> None:
    run = in_memory([measured([1.0] * 3)])
    joined = join([run])
    assert joined.records[0] is run.records[0]
