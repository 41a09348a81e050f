"""The matrix: one cell for each model on each target of each machine, and what follows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from compared_runs import a_header, in_memory, measured, noisy, on_disk, with_predictions
from fake_records import CONTROL, STUDENT, TEACHER, a_cell, a_failure, an_accuracy

from bench.cell import MOST, Cell, LoadGen, ModelIdentity
from bench.errors import SpecError
from bench.judge.matrix.answer import Answered, answer
from bench.judge.matrix.cells import Asked, Entry, Price
from bench.judge.matrix.weigh import rate_of
from bench.present.matrix.text import said_of
from bench.present.matrix.words import notes
from bench.record.result import LEAST, Energy, EnergyRound, Estimate, Percentile, Record
from bench.store.run import StoredRun

RNG = np.random.default_rng


def timed(cell: Cell, ns: float, seed: int = 1, sd: float = 0.01, **changes: Any) -> Record:
    return measured(noisy(RNG(seed), ns, 8, sd), cell, median_ns=ns, **changes)


def run_of(machine: str, records: Sequence[Record], **changes: Any) -> StoredRun:
    facts = {"machine_id": machine[:12].ljust(12, "0"), "cpu_model": machine, "kernel": "6"}
    return in_memory(records, machine, facts=facts, machine_name=machine, **changes)


def entries(found: Answered) -> dict[tuple[str, str, str], Entry]:
    return {
        (entry.row.model, entry.column.machine.name, entry.column.target): entry
        for entry in found.matrix
    }


def best(found: Answered, model: str) -> set[tuple[str, str]]:
    return {
        (entry.column.machine.name, entry.column.target)
        for entry in found.matrix
        if entry.row.model == model and entry.best
    }


def two_machines() -> list[StoredRun]:
    """The teacher is fastest on the slow one's GPU; the student is as fast on both CPUs."""
    left = [
        timed(a_cell(TEACHER, "x:cpu"), 400e3, 1),
        timed(a_cell(STUDENT, "x:cpu"), 20e3, 2),
        timed(a_cell(TEACHER, "torch:cuda:0"), 100e3, 3),
    ]
    right = [
        timed(a_cell(TEACHER, "x:cpu"), 200e3, 4),
        timed(a_cell(STUDENT, "x:cpu"), 20e3, 5, 0.02),
    ]
    return [run_of("left", left), run_of("right", right)]


# -- the table ------------------------------------------------------------------------------------


def test_models_are_rows_and_targets_of_machines_are_columns() -> None:
    matrix = answer(two_machines(), Asked()).matrix
    assert [row.model for row in matrix.rows] == ["fashion-teacher", "fashion-student"]
    assert [(c.machine.name, c.target, c.kind) for c in matrix.columns] == [
        ("left", "x:cpu", "CPU"),
        ("left", "torch:cuda:0", "GPU"),
        ("right", "x:cpu", "CPU"),
    ]


def test_the_best_of_a_row_is_marked_with_what_is_not_told_apart_from_it() -> None:
    found = answer(two_machines(), Asked())
    assert best(found, "fashion-teacher") == {("left", "torch:cuda:0")}
    assert best(found, "fashion-student") == {("left", "x:cpu"), ("right", "x:cpu")}
    leaders = [entry for entry in found.matrix if entry.leader]
    assert [entry.row.model for entry in leaders] == ["fashion-teacher", "fashion-student"]


def test_one_machine_is_compared_process_by_process_and_two_are_not() -> None:
    """A drift that hits both cells of a machine hides nothing; between machines it does."""
    drift = np.linspace(1, 2, 8)
    fast, slow = [drift * 100e3 * (1 + 0.001 * RNG(n).normal(size=8)) for n in (1, 2)]
    slow = slow * 1.1
    here = [
        measured(list(fast), a_cell(TEACHER, "x:cpu"), median_ns=140e3),
        measured(list(slow), a_cell(TEACHER, "y:cpu"), median_ns=154e3),
    ]
    assert best(answer([run_of("one", here)], Asked()), "fashion-teacher") == {("one", "x:cpu")}
    apart = [run_of("one", here[:1]), run_of("two", here[1:])]
    assert len(best(answer(apart, Asked()), "fashion-teacher")) == 2


def test_the_more_there_are_the_surer_each_difference_has_to_be() -> None:
    """Told apart where it is one of two, and not where it is one of many."""
    # Welch's interval of these two excludes 1 at 97.5% and at 99.8% doesn't.
    leader = measured([100e3, 101e3, 102e3, 103e3], a_cell(TEACHER, "a:cpu"), median_ns=101.5e3)
    close = measured([104e3, 105e3, 106e3, 107e3], a_cell(TEACHER, "b:cpu"), median_ns=105.5e3)
    far = [timed(a_cell(TEACHER, f"t{n}:cpu"), 900e3, n) for n in range(12)]
    two = [run_of("one", [leader]), run_of("two", [close])]
    wide = Asked(margin=0.001)
    assert len(best(answer(two, wide), "fashion-teacher")) == 1
    many = [run_of("one", [leader]), run_of("two", [close]), run_of("three", far)]
    assert len(best(answer(many, wide), "fashion-teacher")) == 2


@pytest.mark.parametrize(
    ("record", "word"),
    [
        (a_failure(a_cell(TEACHER, "y:npu"), "out-of-memory"), "memory"),
        (a_failure(a_cell(TEACHER, "y:npu"), "crashed"), "crash"),
        (a_failure(a_cell(TEACHER, "y:npu"), "of a later version"), "failed"),
        (timed(a_cell(TEACHER, "y:npu"), 1e3, simulated=True), "simulated"),
        (measured([1e3], a_cell(TEACHER, "y:npu")), "too few"),
    ],
)
def test_what_has_no_figure_says_why_in_a_word_and_is_never_best(record: Record, word: str) -> None:
    run = run_of("a", [timed(a_cell(TEACHER, "x:cpu"), 1e6), record])
    found = answer([run], Asked())
    entry = entries(found)["fashion-teacher", "a", "y:npu"]
    assert (entry.word, entry.best, entry.value) == (word, False, None)
    assert not any(entry.best for entry in found.matrix)  # one figure alone is no best


def test_wrong_outputs_and_fallbacks_are_words_too() -> None:
    from fake_records import a_failed_check

    checks = (a_failed_check("placement", "3 nodes on the CPU"),)
    wrong = timed(a_cell(TEACHER, "y:npu"), 1e3, checks=checks)
    allowed = timed(a_cell(TEACHER, "z:npu", allow_fallback=True), 1e3, checks=checks)
    found = entries(answer([run_of("a", [wrong, allowed])], Asked()))
    assert found["fashion-teacher", "a", "y:npu"].word == "WRONG"
    assert found["fashion-teacher", "a", "z:npu"].word == "fallback"


def test_what_was_not_measured_is_said_for_planned_cells_and_for_others() -> None:
    planned = run_of("b", [timed(a_cell(STUDENT, "x:cpu"), 1e4)])
    header = planned.header
    more = header.model_copy(update={"cells": (*header.cells, a_cell(TEACHER, "x:cpu"))})
    unfinished = StoredRun(planned.path, more, planned.records, [], [])
    found = entries(answer([*two_machines(), unfinished], Asked()))
    assert found["fashion-teacher", "b", "x:cpu"].word == "-"
    assert found["fashion-student", "left", "torch:cuda:0"].word == "-"


def test_of_several_runs_of_a_machine_the_last_that_went_well_counts() -> None:
    cell = a_cell(TEACHER, "x:cpu")
    runs = [
        run_of("a", [timed(cell, 300e3)], created_at="2026-01-01T00:00:00+00:00"),
        run_of("a", [timed(cell, 200e3)], created_at="2026-01-02T00:00:00+00:00"),
        run_of("a", [a_failure(cell)], created_at="2026-01-03T00:00:00+00:00"),
    ]
    (entry,) = answer(runs, Asked()).matrix
    assert entry.value is not None
    assert entry.value.value == 200e3


def test_another_model_of_the_same_name_is_a_row_of_its_own_and_said_once() -> None:
    other = TEACHER.model_copy(update={"sha256": "f" * 64})
    runs = [
        run_of("a", [timed(a_cell(TEACHER, "x:cpu"), 1e5)]),
        run_of("b", [timed(a_cell(other, "x:cpu"), 1e5)]),
        run_of("c", [timed(a_cell(TEACHER, "x:cpu", shapes={"image": (1, 1, 32, 32)}), 1e5)]),
    ]
    matrix = answer(runs, Asked()).matrix
    assert len(matrix.rows) == 3
    assert {row.apart for row in matrix.rows} == {
        "image 1x28x28, model aaaaaaaa",
        "image 1x28x28, model ffffffff",
        "image 1x32x32",
    }
    assert sum("stands for different things" in note for note in matrix.notes) == 1


#: Two ways of using a target, and how each is told.
USES: dict[str, tuple[tuple[dict[str, Any], str], tuple[dict[str, Any], str]]] = {
    "threads": (({"threads": 1}, "1 thread"), ({"threads": 4}, "4 threads")),
    "fallback": (({}, ""), ({"allow_fallback": True}, "fallback allowed")),
    "driver": (({}, ""), ({"loadgen": LoadGen()}, "through LoadGen")),
    "settings": (
        ({"loadgen": LoadGen(min_duration=1)}, "through LoadGen, min_duration=1"),
        ({"loadgen": LoadGen(min_duration=2)}, "through LoadGen, min_duration=2"),
    ),
    "bound": (({}, ""), ({"latency_bound_ns": 10**6}, "p99 ≤ 1.00 ms")),
    "bound of tokens": (({}, ""), ({"ttft_bound_ns": 10**6}, "TTFT p99 ≤ 1.00 ms")),
}


@pytest.mark.parametrize("setting", USES)
def test_a_target_that_is_used_in_two_ways_has_two_columns(setting: str) -> None:
    """Else the later figure would stand for both."""
    (one, word), (other, other_word) = USES[setting]
    records = [
        timed(a_cell(TEACHER, "x:cpu", **one), 2e5),
        timed(a_cell(TEACHER, "x:cpu", **other), 1e5),
    ]
    matrix = answer([run_of("a", records)], Asked()).matrix
    assert [column.detail for column in matrix.columns] == [word, other_word]
    assert [entry.value.value for entry in matrix if entry.value] == [2e5, 1e5]


def test_a_target_used_otherwise_on_another_machine_needs_no_telling() -> None:
    runs = [
        run_of(m, [timed(a_cell(TEACHER, "x:cpu", threads=n), 1e5)])
        for m, n in (("a", 8), ("b", 16))
    ]
    assert [column.detail for column in answer(runs, Asked()).matrix.columns] == ["", ""]


def test_other_labelled_data_is_a_row_of_its_own_and_no_data_is_not() -> None:
    cell = a_cell(TEACHER, "x:cpu")
    scored = an_accuracy(0.9)
    elsewhere = scored.model_copy(update={"dataset_sha256": "0" * 64})
    runs = [
        run_of("a", [timed(cell, 1e5).model_copy(update={"accuracy": scored})]),
        run_of("b", [timed(cell, 1e5).model_copy(update={"accuracy": None})]),
    ]
    assert len(answer(runs, Asked()).matrix.rows) == 1
    runs.append(run_of("c", [timed(cell, 1e5).model_copy(update={"accuracy": elsewhere})]))
    assert len(answer(runs, Asked()).matrix.rows) == 2
    # One that was never scored has no data to be told by; its weights tell it.
    other = a_cell(TEACHER.model_copy(update={"sha256": "f" * 64}), "x:cpu")
    runs.append(run_of("d", [timed(other, 1e5).model_copy(update={"accuracy": None})]))
    rows = {row.sha256[:8]: row.apart for row in answer(runs, Asked()).matrix.rows}
    assert rows["ffffffff"] == "model ffffffff"
    assert rows["aaaaaaaa"] == "model aaaaaaaa, data 000000"
    del runs[2]
    assert {row.apart for row in answer(runs, Asked()).matrix.rows} == {
        "model aaaaaaaa",
        "model ffffffff",
    }


def test_throughput_is_read_at_the_largest_batch_that_went_well() -> None:
    records = [
        timed(a_cell(TEACHER, "x:cpu", "offline", batch), 1e6 * batch, batch) for batch in (8, 32)
    ]
    records.append(a_failure(a_cell(TEACHER, "x:cpu", "offline", 64)))
    (entry,) = answer([run_of("a", records)], Asked(by="throughput")).matrix
    assert entry.record.cell.batch == 32
    asked = Asked(by="throughput", batches=(8, 32))
    assert {row.batch for row in answer([run_of("a", records)], asked).matrix.rows} == {8, 32}


def test_a_model_is_one_row_whatever_its_batch_and_wherever_that_is_among_its_axes() -> None:
    """The batch is the second axis of its input, and one machine measured another one."""
    runs = []
    for machine, batch in (("a", 8), ("b", 32)):
        shapes = {"x": (64, batch, 40)}
        cell = a_cell(TEACHER, "x:cpu", "offline", batch, shapes=shapes, batch_axes={"x": 1})
        runs.append(run_of(machine, [timed(cell, 1e6 * batch, batch)]))
    assert len(answer(runs, Asked(by="throughput")).matrix.rows) == 1


def test_runs_that_have_nothing_of_what_is_asked_say_what_they_have() -> None:
    with pytest.raises(SpecError, match="single-stream batch 1"):
        answer(two_machines(), Asked(by="throughput"))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"by": "energy"}, "has an energy. Measure it with --energy."),
        ({"batches": (7,)}, r"requested figure \(--by latency, --batch 7\). Available: single-st"),
        ({"scenarios": ("offline",)}, r"\(--by latency, --scenario offline\)"),
    ],
)
def test_what_no_run_has_is_told_as_it_was_asked_for(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        answer(two_machines(), Asked(**asked))


def test_models_that_no_two_machines_share_are_shown_all_the_same() -> None:
    runs = [
        run_of("a", [timed(a_cell(TEACHER, "x:cpu"), 1e5)]),
        run_of("b", [timed(a_cell(STUDENT, "x:cpu"), 1e4)]),
    ]
    assert [entry.word for entry in answer(runs, Asked()).matrix] == ["", "-", "-", ""]


# -- bounds, prices -------------------------------------------------------------------------------


def with_p99(record: Record, high_ns: float | None) -> Record:
    assert record.latency is not None
    p99 = Percentile(p=0.99, value_ns=high_ns, samples=5000, samples_needed=662)
    latency = record.latency.model_copy(update={"p99": p99})
    return record.model_copy(update={"latency": latency})


def test_only_what_surely_keeps_the_bound_can_be_best() -> None:
    records = [
        with_p99(timed(a_cell(TEACHER, "a:cpu"), 1e6), 9e6),
        with_p99(timed(a_cell(TEACHER, "b:cpu"), 2e6), None),
        with_p99(timed(a_cell(TEACHER, "c:cpu"), 3e6), 4e6),
        with_p99(timed(a_cell(TEACHER, "d:cpu"), 4e6), 4.5e6),
    ]
    found = answer([run_of("m", records)], Asked(bound_ns=5_000_000))
    assert [entry.kept for entry in found.matrix] == ["missed", "inconclusive", "met", "met"]
    assert best(found, "fashion-teacher") == {("m", "c:cpu")}
    (choice,) = found.choices
    assert choice.best is not None
    assert choice.best.column.target == "c:cpu"
    assert (choice.candidates, choice.missed, choice.unsure) == (2, 1, 1)


def test_the_cheapest_has_the_lowest_price_of_a_sample() -> None:
    """The fast machine is twice as fast and four times as dear."""
    cell = a_cell(TEACHER, "x:cpu")
    runs = [run_of("dear", [timed(cell, 1e5, 1)]), run_of("slow", [timed(cell, 2e5, 2)])]
    prices = {"dear": Price(4.0, "EUR"), "slow": Price(1.0, "EUR")}
    found = answer(runs, Asked(prices=prices))
    (choice,) = found.choices
    assert choice.best is not None
    assert choice.cheapest is not None
    assert choice.price is not None
    assert choice.best.column.machine.name == "dear"
    assert choice.cheapest.column.machine.name == "slow"
    # An hour has 3600 s, and a query takes 200 µs on average.
    assert choice.price.value == pytest.approx(1.0 / 3600 * 2e-4, rel=0.02)
    assert choice.price.low < choice.price.value < choice.price.high
    rate = choice.cheapest.rate
    assert rate is not None
    assert choice.price.high == pytest.approx(1.0 / 3600 / rate.low)


def test_prices_in_two_currencies_are_not_held_against_each_other() -> None:
    prices = {"left": Price(1.0, "EUR"), "right": Price(1.0, "USD")}
    found = answer(two_machines(), Asked(prices=prices))
    assert all(choice.cheapest is None for choice in found.choices)


def test_a_matrix_of_prices_marks_the_cheapest() -> None:
    cell = a_cell(TEACHER, "x:cpu", "offline", 8)
    runs = [run_of("dear", [timed(cell, 1e6, 1)]), run_of("slow", [timed(cell, 2e6, 2)])]
    found = answer(runs, Asked(by="price", prices={"dear": Price(9.0), "slow": Price(1.0)}))
    assert best(found, "fashion-teacher") == {("slow", "x:cpu")}
    alone = entries(answer(runs, Asked(by="price", prices={"slow": Price(1.0)})))
    assert alone["fashion-teacher", "dear", "x:cpu"].word == "no price"


# -- energy ---------------------------------------------------------------------------------------


def with_energy(record: Record, joules: float, scope: Literal["gpu-board", "wall"]) -> Record:
    rounds = tuple(EnergyRound(index=n, gross_j=joules * (1 + n / 1000)) for n in range(5))
    gross = Estimate(value=joules, low=joules * 0.99, high=joules * 1.01, confidence=0.95)
    energy = Energy(
        scope=scope, meters=("m",), kind="power", samples=2, gross_j=gross, rounds=rounds, windows=5
    )
    return record.model_copy(update={"energy": (energy,)})


def test_energies_of_a_sample_are_compared_where_they_are_of_one_scope() -> None:
    cell = a_cell(TEACHER, "x:cpu")
    runs = [
        run_of("low", [with_energy(timed(cell, 1e5), 1.0, "gpu-board")]),
        run_of("high", [with_energy(timed(cell, 1e5), 3.0, "gpu-board")]),
        run_of("other", [with_energy(timed(cell, 1e5), 0.1, "wall")]),
        run_of("none", [timed(cell, 1e5)]),
    ]
    matrix = answer(runs, Asked(by="energy")).matrix
    assert [entry.word for entry in matrix] == ["", "", "no energy", "no energy"]
    assert [entry.value.value for entry in matrix if entry.value] == [0.5, 1.5]
    assert [entry.best for entry in matrix] == [True, False, False, False]
    assert matrix.energy_way == ("gpu-board", "power")
    said = "energies are of gpu-board, integrated from power readings."
    assert said in notes(matrix, (), ())


def test_the_best_is_by_the_scope_that_is_shown() -> None:
    """By their boards the first takes less; at the wall, which all have, the second does."""
    cell = a_cell(TEACHER, "x:cpu")
    plain = {name: timed(cell, 1e5) for name in ("one", "two", "three")}
    walls = {"one": 3.0, "two": 2.0, "three": 4.0}
    found = {n: with_energy(record, walls[n], "wall") for n, record in plain.items()}
    for name, joules in (("one", 0.1), ("two", 0.2)):
        board = with_energy(plain[name], joules, "gpu-board").energy
        found[name] = found[name].model_copy(update={"energy": (*board, *found[name].energy)})
    runs = [run_of(name, [record]) for name, record in found.items()]
    matrix = answer(runs, Asked(by="energy")).matrix
    assert matrix.energy_way == ("wall", "power")
    shown = {e.column.machine.name: e for e in matrix}
    assert {n: e.value.value for n, e in shown.items() if e.value} == {
        n: joules / 2 for n, joules in walls.items()
    }
    assert [name for name, entry in shown.items() if entry.best] == ["two"]


@pytest.mark.parametrize("in_one_run", [True, False])
def test_only_energies_of_one_run_are_compared_round_by_round(in_one_run: bool) -> None:
    """Both vary alike from round to round, which is the load of the hour where it is of one run,
    and chance where it is of two."""
    wobble = (1.0, 1.3, 0.8, 1.1, 0.9)
    found = []
    for target, joules in (("x:cpu", 1.0), ("y:cpu", 1.05)):
        record = with_energy(timed(a_cell(TEACHER, target), 1e5), joules, "gpu-board")
        rounds = tuple(EnergyRound(index=n, gross_j=joules * w) for n, w in enumerate(wobble))
        energy = record.energy[0].model_copy(update={"rounds": rounds})
        found.append(record.model_copy(update={"energy": (energy,)}))
    parts = [found] if in_one_run else [[record] for record in found]
    matrix = answer([run_of("one", part) for part in parts], Asked(by="energy")).matrix
    assert [entry.best for entry in matrix] == [True, not in_one_run]


# -- accuracy -------------------------------------------------------------------------------------


def scored_runs(folder: Path) -> list[StoredRun]:
    """Two machines; the student is ten times as fast and 10 points less accurate."""
    runs = []
    for n, (name, factor) in enumerate((("left", 1.0), ("right", 3.0))):
        records = []
        for model, ns in ((TEACHER, 1e5), (STUDENT, 1e4)):
            cell = a_cell(model, "x:cpu")
            file = f"predictions/{model.name}.parquet"
            score = an_accuracy(0.95 if model is TEACHER else 0.85, 2000)
            accuracy = score.model_copy(update={"predictions": file})
            record = timed(cell, ns * factor, int(ns) + n)
            records.append(record.model_copy(update={"accuracy": accuracy}))
        facts = {"machine_id": f"{name:0>12}", "cpu_model": name, "kernel": "6"}
        run = on_disk(folder / name, records, facts=facts, machine_name=name)
        right = np.arange(2000) % 20
        with_predictions(run, {TEACHER.name: right > 0, STUDENT.name: right > 2})
        runs.append(run)
    return runs


def test_within_a_loss_the_fastest_is_one_that_is_surely_as_accurate(tmp_path: Path) -> None:
    runs = scored_runs(tmp_path)
    family, *_ = answer(runs, Asked(within=0.005)).choices
    assert family.best is not None
    assert (family.best.row.model, family.best.column.machine.name) == ("fashion-teacher", "left")
    assert (family.candidates, family.lossy) == (2, 2)
    loose, *_ = answer(runs, Asked(within=0.2)).choices
    assert loose.best is not None
    assert loose.best.row.model == "fashion-student"


def test_the_front_is_one_over_all_machines(tmp_path: Path) -> None:
    (front,) = answer(scored_runs(tmp_path), Asked()).fronts
    states = {
        (p.entry.row.model, p.entry.column.machine.name): p.standing.state for p in front.points
    }
    assert states == {
        ("fashion-student", "left"): "front",
        ("fashion-student", "right"): "dominated",
        ("fashion-teacher", "left"): "front",
        ("fashion-teacher", "right"): "dominated",
    }


def test_accuracies_of_two_machines_are_compared_example_by_example(tmp_path: Path) -> None:
    found = answer(scored_runs(tmp_path), Asked(by="accuracy"))
    assert best(found, "fashion-teacher") == {("left", "x:cpu"), ("right", "x:cpu")}
    assert found.fronts == ()


def test_lost_predictions_leave_open_who_is_as_accurate(tmp_path: Path) -> None:
    runs = scored_runs(tmp_path)
    (runs[0].path / f"predictions/{TEACHER.name}.parquet").unlink()
    found = answer(runs, Asked(within=0.005))
    assert len(found.problems) == 1
    family, *_ = found.choices
    # What has no predictions is no reference, though its score is as good: the others are held
    # against the teacher on the other machine, and it is counted.
    assert family.reference is not None
    assert (family.reference.row.model, family.reference.column.machine.name) == (
        "fashion-teacher",
        "right",
    )
    assert (family.candidates, family.lossy, family.unjudged) == (1, 2, 1)
    (said, *_) = said_of(found)
    assert "within 0.5 points of the most accurate (fashion-teacher on right x:cpu)" in said.lower()
    assert said.endswith("(left out: 2 possibly less accurate, 1 without predictions to compare).")


def test_without_any_predictions_nobody_is_the_reference(tmp_path: Path) -> None:
    runs = scored_runs(tmp_path)
    for run in runs:
        for file in (run.path / "predictions").iterdir():
            file.unlink()
    found = answer(runs, Asked(within=0.005))
    family, *_ = found.choices
    assert (family.reference, family.candidates, family.unjudged) == (None, 0, 4)
    assert said_of(found)[0] == (
        "Within 0.5 points of the most accurate: nothing is shown to meet this (4 without "
        "predictions to compare)."
    )


def test_the_most_accurate_is_not_one_without_predictions(tmp_path: Path) -> None:
    runs = scored_runs(tmp_path)
    (runs[0].path / f"predictions/{TEACHER.name}.parquet").unlink()
    found = answer(runs, Asked(by="accuracy"))
    (leader,) = [e for e in found.matrix if e.leader and e.row.model == "fashion-teacher"]
    assert leader.column.machine.name == "right"
    # It may be the best all the same, and says that it wasn't compared.
    assert best(found, "fashion-teacher") == {("left", "x:cpu"), ("right", "x:cpu")}
    assert "; not compared with it, without predictions: left x:cpu" in said_of(found)[0]


def test_a_score_with_predictions_counts_rather_than_a_later_one_without(tmp_path: Path) -> None:
    runs = scored_runs(tmp_path)
    later = a_header([], created_at="2027-01-01T00:00:00+00:00")
    again = replace(
        runs[0],
        path=tmp_path / "gone",
        header=runs[0].header.model_copy(update={"created_at": later.created_at}),
    )
    found = answer([*runs, again], Asked(within=0.005))
    family, *_ = found.choices
    assert (family.candidates, family.unjudged) == (2, 0)


def test_each_length_is_shown_with_the_accuracy_that_it_was_scored_with() -> None:
    def scored(length: int, right: float, data: str) -> Record:
        record = timed(a_cell(TEACHER, "x:cpu", shapes={"image": (1, length)}), 1e5)
        accuracy = an_accuracy(right).model_copy(update={"dataset_sha256": data * 64})
        return record.model_copy(update={"accuracy": accuracy})

    runs = [run_of("a", [scored(64, 0.80, "1")]), run_of("a", [scored(512, 0.90, "2")])]
    for order in (runs, runs[::-1]):
        entries = answer(order, Asked(by="accuracy")).matrix
        shown = {
            e.side.cell.shapes["image"][1]: e.value.value for e in entries if e.side and e.value
        }
        assert shown == {64: 0.80, 512: 0.90}


def test_a_bound_that_all_miss_leaves_the_sentence_on_all_models(tmp_path: Path) -> None:
    found = answer(scored_runs(tmp_path), Asked(within=0.005, bound_ns=1))
    assert said_of(found)[0] == (
        "At p99 ≤ 1.00 ns and within 0.5 points of the most accurate: nothing is shown to meet "
        "this (4 over the bound)."
    )


def test_where_nothing_is_scored_a_loss_says_that_it_changes_nothing() -> None:
    run = run_of("a", [timed(a_cell(TEACHER, "x:cpu"), 1e5, 1, accuracy=None)])
    assert said_of(answer([run], Asked(within=0.005)))[0] == (
        "Within 0.5 points of the most accurate: nothing to choose from, because fewer than two "
        "models have a figure and a score on the same data."
    )


def test_prices_in_two_currencies_name_no_cheapest_and_say_so() -> None:
    cell = a_cell(TEACHER, "x:cpu", "offline", 8)
    runs = [run_of(name, [timed(cell, 1e5, n)]) for n, name in enumerate(("left", "right"))]
    prices = {"left": Price(2.0, "EUR"), "right": Price(1.0, "USD")}
    with pytest.raises(SpecError, match="prices are in EUR and USD"):
        answer(runs, Asked(by="price", prices=prices))
    found = answer(runs, Asked(by="throughput", prices=prices))
    said = notes(found.matrix, found.machines, found.problems)
    assert "prices are in EUR and USD, so no cheapest is named." in said


def test_a_machine_without_a_price_has_no_figure_of_it() -> None:
    cell = a_cell(TEACHER, "x:cpu", "offline", 8)
    found = answer([run_of("left", [timed(cell, 1e5, 1)])], Asked(by="price"))
    assert said_of(found) == ["fashion-teacher: there is no figure (1 no price)."]


# -- ratios across machines -----------------------------------------------------------------------


def pairs_on(machines: dict[str, float], target: str = "x:cpu") -> list[StoredRun]:
    """On each machine the student is so many times as fast as the teacher."""
    return [
        run_of(
            name,
            [
                timed(a_cell(TEACHER, target), 1e6, n),
                timed(a_cell(STUDENT, target), 1e6 / ratio, n),
            ],
        )
        for n, (name, ratio) in enumerate(machines.items())
    ]


def test_ratios_are_measured_within_machines_and_pooled_by_kind_of_device() -> None:
    runs = pairs_on({"a": 4.0, "b": 4.4, "c": 3.8}) + pairs_on({"g": 30.0}, "torch:cuda:0")
    on_cpus, on_gpus = answer(runs, Asked()).across
    assert (on_cpus.kind, on_gpus.kind) == ("CPU", "GPU")
    assert on_cpus.pooled.machines == 3
    # Paired values of one seed: the ratio of each machine is exact.
    assert on_cpus.pooled.ratio.estimate == pytest.approx((4.0 * 4.4 * 3.8) ** (1 / 3))
    assert on_cpus.pooled.prediction is not None
    assert on_gpus.pooled.ratio.estimate == pytest.approx(30.0)
    assert on_gpus.pooled.tau is None
    assert all(one.paired for one in on_cpus.machines)


def test_of_a_machine_the_target_counts_on_which_the_original_is_fastest() -> None:
    run = run_of(
        "a",
        [
            timed(a_cell(TEACHER, "slow:cpu"), 9e6, 1),
            timed(a_cell(STUDENT, "slow:cpu"), 1e6, 1),
            timed(a_cell(TEACHER, "fast:cpu"), 2e6, 2),
            timed(a_cell(STUDENT, "fast:cpu"), 1e6, 2),
        ],
    )
    (found,) = answer([run], Asked()).across
    assert [(one.target, round(one.ratio.estimate, 6)) for one in found.machines] == [
        ("fast:cpu", 2.0)
    ]


@pytest.mark.parametrize(
    ("teacher", "student", "compared"),
    [
        ((128, 512), (128, 512), [128, 512]),
        ((128, 512), (512, 1024), [512]),
        ((128, 512), (64,), []),
        ((128,), (64,), [64]),  # the length that each was made for
    ],
)
def test_a_ratio_is_of_one_length(
    teacher: Sequence[int], student: Sequence[int], compared: list[int]
) -> None:
    """A student at 128 is no 40 times as fast as its teacher at 512."""

    def cells(model: ModelIdentity, lengths: Sequence[int], ns: float) -> list[Record]:
        shapes = ({"ids": (1, n)} for n in lengths)
        return [
            timed(a_cell(model, "x:cpu", shapes=s), ns * n)
            for s, n in zip(shapes, lengths, strict=True)
        ]

    run = run_of("a", [*cells(TEACHER, teacher, 1e4), *cells(STUDENT, student, 1e3)])
    found = answer([run], Asked()).across
    assert [each.model.sizes for each in found] == [((1, (n,)),) for n in compared]
    if compared != [64]:
        assert [each.pooled.ratio.estimate for each in found] == pytest.approx([10.0] * len(found))


def test_a_variant_at_one_of_two_lengths_is_compared_at_that() -> None:
    ways = (("fp32", 128, 1e6), ("fp32", 512, 4e6), ("int8", 128, 5e5))
    records = [
        timed(a_cell(TEACHER, "x:cpu", variant=v, shapes={"ids": (1, n)}), ns) for v, n, ns in ways
    ]
    (found,) = answer([run_of("a", records)], Asked()).across
    assert found.relation == "variant"
    assert found.pooled.ratio.estimate == pytest.approx(2.0)
    assert answer([run_of("a", records[1:])], Asked()).across == (), "512 against 128"


def test_models_of_two_runs_of_a_machine_make_no_ratio() -> None:
    """What changed between the runs is in such a ratio, and in no interval."""
    runs = [
        run_of("a", [timed(a_cell(TEACHER, "x:cpu"), 1e6)]),
        run_of("a", [timed(a_cell(STUDENT, "x:cpu"), 1e5)]),
    ]
    assert answer(runs, Asked()).across == ()


def test_a_control_is_told_from_a_distilled_model() -> None:
    control = CONTROL.model_copy(update={"distilled_from": None})
    run = run_of(
        "a",
        [timed(a_cell(m, "x:cpu"), 1e6, n) for n, m in enumerate((TEACHER, STUDENT, control))],
    )
    relations = {(a.model.model, a.other.model): a.relation for a in answer([run], Asked()).across}
    assert relations == {
        ("fashion-student", "fashion-teacher"): "original",
        ("fashion-student", "fashion-student-ce"): "control",
        ("fashion-student-ce", "fashion-teacher"): "control",
    }


# -- machines -------------------------------------------------------------------------------------


def test_a_canary_that_wandered_and_disturbed_cells_are_told() -> None:
    from fake_records import a_failed_check

    def with_canary(name: str, canary: Sequence[float], **changes: Any) -> StoredRun:
        times = noisy(RNG(1), 1e5, len(canary))
        cell = a_cell(TEACHER, "x:cpu")
        return run_of(name, [measured(times, cell, canary_ns=canary, **changes)])

    steady, wandering = answer(
        [
            with_canary("steady", [100.0, 101.0, 100.0, 102.0]),
            with_canary(
                "wandering",
                [100.0, 130.0, 100.0, 130.0],
                checks=(a_failed_check("undisturbed", "30 of 40 blocks"),),
            ),
        ],
        Asked(),
    ).machines
    assert (steady.wandered, steady.disturbed) == (False, 0)
    assert (wandering.wandered, wandering.disturbed, wandering.cells) == (True, 1, 1)
    assert wandering.canary_ns == 115.0


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("onnxruntime@gpu:cuda:1?cuda_graph=1", "GPU"),
        ("onnxruntime:cann:0", "NPU"),
        ("openvino:npu", "NPU"),
        ("webgpu:webgpu:0", "GPU"),
        ("openvino:cpu?streams=2", "CPU"),
        ("onnxruntime@ov:openvino-cpu", "CPU"),
        ("onnxruntime@ov:openvino-gpu", "GPU"),
        ("pim:mram", "MRAM"),
        ("bare", "CPU"),
    ],
)
def test_a_target_computes_on_a_cpu_a_gpu_or_an_npu(target: str, kind: str) -> None:
    from bench.judge.matrix.kinds import device_word

    assert device_word(a_cell(TEACHER, target)) == kind


def test_of_a_rate_whose_bounds_are_beyond_all_that_is_written_down_the_limits_are_left() -> None:
    """Two processes that are ten thousandfold apart, as any record may have them."""
    record = timed(a_cell(TEACHER, "x:cpu"), 1e5)
    one, other, *_ = record.invocations
    apart = (one, other.model_copy(update={"busy_ns": one.busy_ns * 10**4}))
    found = rate_of(record.model_copy(update={"invocations": apart, "throughput": None}), 0.95)
    assert found is not None
    assert (found.low, found.high) == (LEAST, MOST)
    assert found.low < found.value < found.high
