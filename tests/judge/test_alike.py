"""What tells cells apart that are called the same, in words."""

from __future__ import annotations

from typing import Any

import pytest
from compared_runs import in_memory, measured
from fake_records import STUDENT, TEACHER, a_cell, a_failed_check, a_failure, a_record

from bench.cell import Cell, LoadGen
from bench.judge.alike import (
    READABLE,
    UNUSUAL,
    Alike,
    sample_shapes,
    sample_sizes,
    sample_words,
    settings_in_words,
    settings_of,
)
from bench.judge.compare import Report, compare
from bench.judge.deal import make_deal
from bench.judge.differences import differences
from bench.judge.finding import Limits
from bench.judge.gate import judge
from bench.judge.matching import match_cells, match_runs
from bench.present.ci.base import names
from bench.present.ci.tables import results_table
from bench.present.compare import only_notes, report_json, report_text
from bench.present.gate import gate_text, where
from bench.present.page.names import target_words
from bench.present.results import result_table
from bench.present.sides import common_names
from bench.record.result import Record

#: Two values of each field that a cell's label doesn't tell, and how each is told.
SETTINGS: dict[str, tuple[tuple[Any, str], tuple[Any, str]]] = {
    "model": (
        (TEACHER, "model aaaaaaaa"),
        (TEACHER.model_copy(update={"sha256": "f" * 64}), "model ffffffff"),
    ),
    "shapes": (({"x": (1, 8)}, "x 8"), ({"x": (1, 16)}, "x 16")),
    "threads": ((1, "1 thread"), (4, "4 threads")),
    "lane": (("prepared", ""), ("api", "user API")),
    "input_sha256": (("1" * 64, "input 11111111"), ("2" * 64, "input 22222222")),
    "allow_fallback": ((False, ""), (True, "fallback allowed")),
    "latency_bound_ns": ((None, ""), (1_000_000, "p99 ≤ 1.00 ms")),
    "ttft_bound_ns": ((None, ""), (1_000_000, "TTFT p99 ≤ 1.00 ms")),
    "tpot_bound_ns": ((None, ""), (1_000_000, "TPOT p99 ≤ 1.00 ms")),
    "loadgen": (
        (LoadGen(min_duration=1), "min_duration=1"),
        (LoadGen(min_duration=2), "min_duration=2"),
    ),
}


def test_all_that_defines_a_cell_is_in_its_label_or_among_its_settings() -> None:
    told = {"variant", "target", "scenario", "batch"}
    unheard = {"batch_axes"}  # what an axis means defines nothing
    assert set(Cell.model_fields) - told - unheard == set(SETTINGS)
    assert a_cell(batch_axes={"image": 0}).id == a_cell(batch_axes={}).id == a_cell().id


@pytest.mark.parametrize("name", SETTINGS)
def test_cells_of_one_label_are_told_apart_in_words(name: str) -> None:
    (one, ones), (other, others) = SETTINGS[name]
    cells = [a_cell(**{name: value}) for value in (one, other)]
    alike = Alike(cells)
    assert [settings_in_words(alike.apart(cell)) for cell in cells] == [ones, others]


def test_digits_are_told_only_of_cells_that_words_leave_alike() -> None:
    inputs = ("1" * 64, "2" * 64, "3" * 64)
    cells = [a_cell(threads=n, input_sha256=i) for n, i in zip((1, 4, 4), inputs, strict=True)]
    alike = Alike(cells)
    assert [settings_in_words(alike.apart(cell)) for cell in cells] == [
        "1 thread",
        "4 threads, input 22222222",
        "4 threads, input 33333333",
    ]


#: Input shapes, the batch, and which axes count samples; then a sample's shapes, in words.
SHAPES = {
    "first": ({"x": (8, 3, 8)}, 8, {"x": 0}, "x 3x8"),
    "second": ({"x": (8, 8, 64)}, 8, {"x": 1}, "x 8x64"),
    "no batch of its own": ({"table": (8, 4), "x": (8, 4)}, 8, {"x": 0}, "table 8x4, x 4"),
    "one call is one sample": ({"points": (1, 3)}, 1, {}, "points 1x3"),
    "a scalar": ({"scale": (), "x": (8, 4)}, 8, {"x": 0}, "scale scalar, x 4"),
    "kept by nobody": ({"x": (8, 8, 4)}, 8, None, "x 8x4"),
    "kept by nobody, of one": ({"x": (9, 1, 4)}, 1, None, "x 9x1x4"),
    "kept by nobody, of none": ({"x": (9, 4)}, 8, None, "x 9x4"),
    "unknown": ({"x": (9, 8, 4), "y": (8, 2)}, 8, None, "x 9x8x4 (batch included), y 2"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_samples_shape_is_without_the_axis_that_is_known_to_count_samples(name: str) -> None:
    shapes, batch, axes, words = SHAPES[name]
    assert sample_words(a_cell(batch=batch, shapes=shapes, batch_axes=axes)) == words


def test_samples_are_of_one_size_whatever_the_batch_and_the_name_of_an_input() -> None:
    one = a_cell(batch=1, shapes={"x": (64, 1, 32)}, batch_axes={"x": 1})
    many = a_cell(batch=64, shapes={"y": (64, 64, 32)}, batch_axes={"y": 1})
    longer = a_cell(batch=64, shapes={"x": (96, 64, 32)}, batch_axes={"x": 1})
    assert sample_sizes(one) == sample_sizes(many) != sample_sizes(longer)


def test_sizes_that_can_not_be_known_are_only_those_of_equal_queries() -> None:
    """Of a run in which nobody kept which axis is the batch, and it is not the first."""
    eight, again = (a_cell(batch=8, shapes={name: (32, 8, 64)}) for name in "xy")
    four = a_cell(batch=4, shapes={"x": (32, 4, 64)})
    kept = a_cell(batch=8, shapes={"x": (32, 8, 64)}, batch_axes={})
    assert sample_sizes(eight) == sample_sizes(again)
    assert len({sample_sizes(cell) for cell in (eight, four, kept)}) == 3


def test_the_lengths_of_a_language_models_step_are_in_its_scenario() -> None:
    assert sample_shapes(a_cell(scenario="decode@32", shapes={"past": (1, 3, 32, 64)})) == {}


def test_every_place_tells_a_setting_in_the_same_words_and_once() -> None:
    """Both in the tables that tell what is unusual unasked, and where it tells cells apart."""
    cells = [
        a_cell(lane=lane, allow_fallback=fallback, threads=threads)
        for lane in ("prepared", "api", "native")
        for fallback in (False, True)
        for threads in (1, 4)
    ]
    records = [measured([1e5, 1.01e5, 0.99e5], cell) for cell in cells]
    runs = in_memory(records), in_memory(records, "b")
    judgement = judge(runs[1], Limits(0.05), compare(match_runs(*runs)))
    points = {
        point.cell.id: target_words(point.cell, point.apart)
        for point in make_deal(records, lambda _: lambda a, b: None).points
    }
    services, gates = names(records), {f.cell.id: where(f) for f in judgement.findings}
    markdown = {
        r.cell_id: row[2] for r, row in zip(records, results_table(records).rows, strict=True)
    }
    table = " ".join(result_table(records, 400).plain.split())
    for cell in cells:
        words = settings_in_words(settings_of(cell, (*UNUSUAL, "threads")))
        assert gates[cell.id].endswith(words)
        assert markdown[cell.id].endswith(words)
        assert points[cell.id] == f"onnxruntime:cpu, {words}"
        assert services[cell.id].startswith(f"{cell.label}, {words}")
        assert f"onnxruntime:cpu, {words} " in table
    said = gate_text(judgement, 400).plain
    assert not any(cell.id in said for cell in cells)


def both_of(name: str) -> tuple[list[Record], list[str]]:
    """Two measured cells that differ in one setting, and how that is told of each."""
    (one, ones), (other, others) = SETTINGS[name]
    cells = [a_cell(**{name: value}) for value in (one, other)]
    return [measured([1e5, 1.01e5, 0.99e5], cell) for cell in cells], [ones, others]


def rows_of(text: str, marks: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if marks in line]


@pytest.mark.parametrize("name", SETTINGS)
def test_rows_of_a_comparison_are_told_apart(name: str) -> None:
    records, words = both_of(name)
    runs = in_memory(records), in_memory(records, "b")
    report = compare(match_runs(*runs))
    found = rows_of(report_text(report, 300).plain, " 100 → 100 ")
    assert len(set(found)) == 2
    for row, word in zip(found, words, strict=True):
        assert row.partition(" 100 → 100")[0].endswith(word or "onnxruntime:cpu")
    told = [row[side]["settings"] for row in comparison_rows(report) for side in ("a", "b")]
    if name not in ("model", "input_sha256"):
        assert told[0] == told[1] != told[2] == told[3]


def comparison_rows(report: Report) -> list[Any]:
    rows = report_json(report)["comparisons"]
    assert isinstance(rows, list)
    return rows


def test_rows_whose_cells_differ_on_both_sides_tell_both() -> None:
    """As their ids were named: one cell of the run against each of two others."""
    one, two, four = (
        measured([1e5, 1.01e5, 0.99e5], a_cell(target=target, threads=n))
        for target, n in (("x:cpu", 1), ("x:cpu", 2), ("y:cpu", 4))
    )
    named = [record.cell_id for record in (one, two, four)]
    text = report_text(compare(match_cells(in_memory([one, two, four]), named)), 300).plain
    assert [row.partition(" 100")[0] for row in rows_of(text, " 100 → 100 ")] == [
        "x:cpu",
        "y:cpu, against 1 thread",
        "y:cpu, against 2 threads",
    ]


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - {"model", "input_sha256"}))
def test_lists_of_cells_tell_them_apart(name: str) -> None:
    records, words = both_of(name)
    failed = a_failure(records[0].cell, "crashed", "it died")
    doubted = records[1].model_copy(update={"checks": (a_failed_check("steady-state", "no"),)})
    everything = compare(match_runs(in_memory(records), in_memory([failed, doubted], "b")))
    lost = match_runs(in_memory(records), in_memory(records[:1], "b"))
    labels = [
        f"{record.cell.label} ({word})" if word else record.cell.label
        for record, word in zip(records, words, strict=True)
    ]
    said = " ".join(report_text(everything, 300).plain.split())
    assert f"Not compared: {labels[0]}: b failed" in said
    assert f"! steady-state: {labels[1]}: b: no" in said
    assert only_notes(lost) == [f"Only in a: {labels[1]}."]


def test_what_differs_tells_in_which_cells() -> None:
    cells = [a_cell(shapes={"x": (1, n)}) for n in (8, 16)]
    before, now = ([a_record(c.model_copy(update={"threads": n})) for c in cells] for n in (1, 4))
    (found,) = differences(match_runs(in_memory(before), in_memory(now, "b")))
    label = "fashion-teacher onnxruntime:cpu single-stream batch 1"
    assert found.subjects == (f"{label} (x 8)", f"{label} (x 16)")


def test_two_cells_of_a_run_are_called_by_what_differs() -> None:
    records, _ = both_of("threads")
    matched = match_cells(in_memory(records), [record.cell_id for record in records])
    label = "fashion-teacher onnxruntime:cpu single-stream batch 1"
    assert common_names(matched) == (f"{label} (1 thread)", f"{label} (4 threads)")


def test_lengths_are_rows_of_their_own() -> None:
    records = [a_record(a_cell(STUDENT, shapes={"x": (1, n)})) for n in (128, 512)]
    table = " ".join(result_table(records, 200).plain.split())
    assert "onnxruntime:cpu, x 128" in table
    assert "onnxruntime:cpu, x 512" in table
    assert [row[2] for row in results_table(records).rows] == [
        "single-stream, x 128",
        "single-stream, x 512",
    ]
    assert "shape" in READABLE
