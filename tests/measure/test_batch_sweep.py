"""``--batch auto``: which cells come next, from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_records import an_invocation
from test_plan import choice, model, suite

from bench.errors import SpecError
from bench.measure import plan as planning
from bench.measure.plan import Plan, PlannedCell, make_plan
from bench.measure.sweep import larger_batches, next_cells
from bench.record.result import Failure, Record, SweepEnd
from bench.spec import make_suite, with_flags

SPREAD = (0.99, 1.0, 1.01, 0.995, 1.005)


def a_plan(folder: Path, *targets: str, **settings: Any) -> Plan:
    asked = suite(**{"batch": "auto", "scenarios": ("offline",), **settings})
    shape = settings.pop("shape", ("batch", 4))
    return make_plan(asked, [model(folder, shape=shape)], [choice(t) for t in targets or ("a",)])


def measured(planned: PlannedCell, call_ns: float, **changes: Any) -> Record:
    cell = planned.cell
    taken = tuple(an_invocation(n, call_ns * factor, cell) for n, factor in enumerate(SPREAD))
    values = {"status": "ok", "stop": "precision", "invocations": taken} | changes
    return Record(cell_id=cell.id, cell=cell, **values)


def sweep(plan: Plan, call_ns: Any, most: int = 30) -> list[tuple[str, int]]:
    """All cells of a sweep in their order, each measured as soon as it is planned."""
    records, asked = [], list(plan.cells)
    seen: list[tuple[str, int]] = []
    while asked and len(seen) < most:
        for planned in asked:
            seen.append((planned.cell.target, planned.cell.batch))
            records.append(measured(planned, call_ns(planned.cell)))
        asked = next_cells(plan, records)
    return seen


def test_it_begins_with_one_sample_and_doubles_until_throughput_stops_rising(
    tmp_path: Path,
) -> None:
    """A call takes 1 ms, and from 8 samples on an eighth of that for each."""
    plan = a_plan(tmp_path)
    assert [p.cell.batch for p in plan.cells] == [1]
    found = sweep(plan, lambda cell: 1e6 * max(1, cell.batch / 8))
    assert [batch for _, batch in found] == [1, 2, 4, 8, 16]
    assert next_cells(plan, []) == []


def test_each_sweep_ends_by_itself_and_equal_batches_are_measured_in_turn(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, "a", "b")
    flat = {"a:cpu": 2, "b:cpu": 8}
    found = sweep(plan, lambda cell: 1e6 * max(1, cell.batch / flat[cell.target]))
    of_b = [("b:cpu", batch) for batch in (8, 16)]
    assert found == [(t, n) for n in (1, 2, 4) for t in ("a:cpu", "b:cpu")] + of_b


def test_a_batch_is_the_cell_that_its_number_would_have_given(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)
    (second,) = next_cells(plan, [measured(plan.cells[0], 1e6)])
    named = a_plan(tmp_path, batch=(2,)).cells[0]
    assert second.cell == named.cell
    assert second.options == named.options
    assert second.feeds["x"].shape == (2, 4)


def test_every_batch_computes_on_as_many_threads_as_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep is told from others by its threads too: with another number it would never end."""
    monkeypatch.setattr(planning, "default_threads", lambda: 6)
    plan = a_plan(tmp_path, threads=None)
    monkeypatch.setattr(planning, "default_threads", lambda: 2)
    (second,) = next_cells(plan, [measured(plan.cells[0], 1e6)])
    assert (second.cell.batch, second.cell.threads, second.options.threads) == (2, 6, 6)
    found = sweep(plan, lambda cell: 1e6 * max(1, cell.batch / 2))
    assert [batch for _, batch in found] == [1, 2, 4]


def test_a_sweep_that_ran_out_of_memory_or_failed_does_not_go_on(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)
    (first,) = plan.cells
    record = measured(first, 1e6)
    failure = Failure(kind="out-of-memory", message="no room")
    ended = record.model_copy(update={"sweep_end": SweepEnd(batch=2, failure=failure)})
    assert len(next_cells(plan, [record])) == 1
    assert next_cells(plan, [ended]) == []
    failed = measured(first, 1e6, status="failed", stop="failed")
    assert next_cells(plan, [failed]) == []


def test_batches_that_were_measured_are_found_again_by_their_cells(tmp_path: Path) -> None:
    """Such as those whose energy an interrupt left unread."""
    plan = a_plan(tmp_path, "a", "b")
    records, asked = [], list(plan.cells)
    while asked and asked[0].cell.batch <= 4:
        records += [measured(planned, 1e6) for planned in asked]
        last, asked = asked, next_cells(plan, records)
    wanted = {record.cell_id for record in records if record.cell.batch != 2}
    (found,) = larger_batches(plan, records, wanted)
    assert [planned.cell for planned in found] == [planned.cell for planned in last]
    assert larger_batches(plan, records, set()) == []


def test_no_sweep_goes_on_for_ever(tmp_path: Path) -> None:
    found = sweep(a_plan(tmp_path), lambda cell: 1e6, most=40)
    assert found[-1][1] == 65_536


def test_a_model_without_a_free_batch_says_why_there_is_no_sweep(tmp_path: Path) -> None:
    for shape, why in (((1, 4), "fixed at 1"), (("length",), "unknown")):
        asked = suite(batch="auto", scenarios=("offline",))
        plan = make_plan(asked, [model(tmp_path, shape=shape)], [choice()])
        (planned,) = plan.cells
        assert planned.refused is None
        assert any(f"its batch can't be swept: it is {why}" in w for w in planned.assumed)
        assert next_cells(plan, [measured(planned, 1e6)]) == []


def test_other_scenarios_have_their_usual_batches(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, scenarios=("single-stream", "multi-stream", "offline"))
    assert [(p.cell.scenario, p.cell.batch) for p in plan.cells] == [
        ("single-stream", 1),
        ("multi-stream", 32),
        ("offline", 1),
    ]
    records = [measured(p, 1e6) for p in plan.cells]
    assert [p.cell.scenario for p in next_cells(plan, records)] == ["offline"]


def test_auto_is_one_word_in_suites_and_flags() -> None:
    assert make_suite({"batch": "auto"}, "it").batch == "auto"
    assert with_flags(suite(), {"batch": "auto"}).batch == "auto"
    with pytest.raises(SpecError, match="batch"):
        make_suite({"batch": "most"}, "it")
    with pytest.raises(SpecError, match="one sample per query"):
        with_flags(suite(scenarios=("single-stream",)), {"batch": "auto"})
