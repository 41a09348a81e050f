"""What tells cells apart that are called the same, in words."""

from __future__ import annotations

from typing import Any

import pytest
from compared_runs import in_memory, measured
from fake_records import STUDENT, TEACHER, a_cell, a_record

from bench.cell import Cell, LoadGen
from bench.judge.alike import (
    READABLE,
    UNUSUAL,
    Alike,
    sample_shapes,
    settings_in_words,
    settings_of,
)
from bench.judge.compare import compare
from bench.judge.deal import make_deal
from bench.judge.finding import Limits
from bench.judge.gate import judge
from bench.judge.matching import match_runs
from bench.present.ci.base import names
from bench.present.ci.tables import results_table
from bench.present.gate import gate_text, where
from bench.present.page.names import target_words
from bench.present.results import result_table

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
    assert set(Cell.model_fields) - {"variant", "target", "scenario", "batch"} == set(SETTINGS)


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
