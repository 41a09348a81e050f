"""The first screen of a page on several machines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from compared_runs import in_memory, measured, noisy
from fake_records import STUDENT, TEACHER, a_cell, a_failure

from bench.judge.matrix.cells import Price
from bench.present.page.page import Page, make_page, render
from bench.record.result import Record
from bench.store.run import StoredRun


def timed(target: str, ns: float, model: object = TEACHER, load: str = "single-stream") -> Record:
    times = noisy(np.random.default_rng(int(ns)), ns, 8, 0.01)
    cell = a_cell(model, target, load)  # type: ignore[arg-type]
    return measured(times, cell, median_ns=ns)


def run_of(machine: str, records: Sequence[Record]) -> StoredRun:
    facts = {"machine_id": f"{machine[:12]:0>12}", "cpu_model": machine, "kernel": "6"}
    return in_memory(records, machine, facts=facts, machine_name=machine)


@pytest.fixture(scope="module")
def page() -> Page:
    left = [timed("x:cpu", 1e5), timed("x:cpu", 1e4, STUDENT), a_failure(a_cell(TEACHER, "y:npu"))]
    right = [timed("x:cpu", 3e5), timed("x:cpu", 3e4, STUDENT)]
    runs = [run_of("left <b>", left), run_of("right", right)]
    return make_page(runs, prices={"right": Price(2.9, "EUR")})


def test_the_answer_over_all_machines_comes_first(page: Page) -> None:
    main, front = page.machines
    assert main.title == "Which hardware for which model"
    assert main.paragraphs[0].startswith("fashion-teacher: the fastest is left <b> x:cpu, 100 µs")
    assert any("2.9 EUR an hour" in remark for remark in main.remarks)
    assert page.pictures[0] is front.pictures[0]
    text = render(page)
    assert text.index('id="machines"') < text.index('id="answer-a"')
    assert "left <b>" not in text


def test_its_table_has_each_figure_with_its_interval_and_marks_the_best(page: Page) -> None:
    (table,) = page.machines[0].tables
    assert [column.title for column in table.columns] == [
        "Model",
        "left <b> x:cpu",
        "left <b> y:npu",
        "right x:cpu",
    ]
    assert table.columns[1].keys == ("median_1_ns", "median_1_low_ns", "median_1_high_ns")
    _, best, failed, slower = table.rows[0]
    assert (best.text, best.tone, best.values[0]) == ("100", "good", 1e5)
    assert (failed.text, failed.tone, failed.values) == ("timeout", "bad", (None, None, None))
    assert (slower.text, slower.tone) == ("300", "")


def test_many_targets_go_down_and_models_across() -> None:
    runs = [run_of("a", [timed(f"r{n}:cpu", 1e5 + n) for n in range(6)])]
    found = make_page([*runs, run_of("b", [timed("r0:cpu", 2e5)])])
    (table,) = found.machines[0].tables
    assert [column.title for column in table.columns] == ["Machine", "Target", "fashion-teacher"]
    assert len(table.rows) == 7


def test_several_runs_of_one_machine_have_no_such_screen() -> None:
    runs = [run_of("a", [timed("x:cpu", ns)]) for ns in (1e5, 2e5)]
    assert make_page(runs).machines == ()


def test_without_latencies_it_is_one_of_rates() -> None:
    runs = [run_of(name, [timed("x:cpu", 1e5, load="offline")]) for name in ("a", "b")]
    (table,) = make_page(runs).machines[0].tables
    assert table.caption.startswith("Throughput")


def test_machines_of_which_nothing_was_measured_have_none() -> None:
    runs = [run_of(name, [timed("x:cpu", 1e5, load="multi-stream")]) for name in ("a", "b")]
    assert make_page(runs).machines == ()
