"""What ends a sweep that is measured: a batch that memory can't hold, which fails nothing; or the
budget of its run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from compared_runs import a_header
from fake_records import estimate
from test_batch_sweep import a_plan, measured

from bench.errors import BenchError, OutOfMemory, Unsupported
from bench.judge.sweeps import sweep_sentences
from bench.measure.measuring import Measuring, OpenRun
from bench.measure.plan import PlannedCell
from bench.measure.state import CellState
from bench.measure.sweep import next_cells
from bench.present.results import result_table
from bench.record.facts import CellFacts
from bench.store.raw import read_raw
from bench.store.rows import result_rows
from bench.store.run import read_run
from bench.store.write import RunStore


class Listener:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.finished: list[int] = []
        self.begun: list[int] = []

    def note(self, words: str) -> None:
        self.notes.append(words)

    def run_started(self, cells: Any, path: Path) -> None:
        self.begun = [cell.batch for cell in cells]

    def forecast(self, expected: Any) -> None:
        pass

    def cell_finished(self, record: Any, number: int, total: int) -> None:
        self.finished.append(total)


def begun(
    folder: Path, monkeypatch: pytest.MonkeyPatch, took_s: float = 0.0, **settings: Any
) -> tuple[Measuring, PlannedCell]:
    """A run whose first batch is measured and stored, and the cell of the second."""
    plan = a_plan(folder, **settings)
    (first,) = plan.cells
    records = [measured(first, 1e6, throughput=estimate(1e3))]
    account = SimpleNamespace(total_s=took_s, scoring_s=0.0, metering_s=0.0)
    prepared: Any = SimpleNamespace(plan=plan, account=account, reports={}, launcher=None)
    outcome: Any = SimpleNamespace(records=records)
    header = a_header([first.cell], suite=plan.suite, keeps_raw=True)
    store = RunStore.create(folder / "results", header)
    store.append_facts(CellFacts(cell_id=first.cell.id, stop="precision", device_name="a GPU"))
    store.append_record(records[0])
    listener: Any = Listener()
    measuring = Measuring(OpenRun(prepared, store, None, listener, outcome))
    facts = CellFacts(cell_id="0" * 12, stop="failed", outputs="outputs/0.npz")

    def recorded(state: CellState) -> tuple[Any, Any]:
        failed = measured(state.planned, 1e6, status="failed", stop="failed")
        return SimpleNamespace(facts=facts, reference=None), failed

    monkeypatch.setattr(measuring, "_recorded", recorded)
    (second,) = next_cells(plan, records)
    return measuring, second


def failed(planned: PlannedCell, error: BenchError) -> CellState:
    return CellState(planned, failure=error, stop="failed")


def test_a_larger_batch_that_runs_out_of_memory_is_no_row_and_ends_its_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring, second = begun(tmp_path, monkeypatch)
    measuring.finish(failed(second, OutOfMemory("the GPU has 1 GiB left.")))
    listener: Any = measuring.listener
    (note,) = listener.notes
    assert "batch 2 doesn't fit in memory, which ends its sweep: the GPU has 1 GiB left" in note
    (record,) = measuring.outcome.records
    assert record.sweep_end is not None
    assert (record.sweep_end.batch, record.sweep_end.failure.kind) == (2, "out-of-memory")
    assert next_cells(measuring.prepared.plan, measuring.outcome.records) == []


def test_the_stored_run_tells_the_end_of_a_sweep_as_the_live_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring, second = begun(tmp_path, monkeypatch)
    measuring.finish(failed(second, OutOfMemory("the GPU has 1 GiB left.")))
    stored = read_run(measuring.store.path)
    live = measuring.outcome.records
    assert list(stored.records)[-1:] == live
    assert next_cells(measuring.prepared.plan, stored.records) == [], "it is not tried again"
    text = result_table(stored.records, 200).plain
    assert text == result_table(live, 200).plain
    assert "the sweep over the batch ends at 2: out of memory. the GPU has 1 GiB left." in text
    assert sweep_sentences(stored) == [
        f"{second.cell.model.name} on a:cpu, offline: the sweep ends at 2: out of memory."
    ]
    # What follows from the facts is the same again.
    facts = read_raw(stored).cells[live[0].cell_id]
    assert facts.sweep_end == live[0].sweep_end
    assert facts.device_name == "a GPU", "the other facts are kept"
    (row,) = result_rows(live)
    assert (row["sweep_end_batch"], row["sweep_end_kind"]) == (2, "out-of-memory")


def test_any_other_failure_is_a_failed_row_and_so_is_the_first_batch_without_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring, second = begun(tmp_path, monkeypatch)
    measuring.finish(failed(second, Unsupported("no such shape.")))
    assert [record.status for record in measuring.outcome.records] == ["ok", "failed"]
    (first,) = measuring.prepared.plan.cells
    measuring.finish(failed(first, OutOfMemory("no room at all.")))
    assert [record.status for record in measuring.outcome.records] == ["ok", "failed", "failed"]
    assert all(record.sweep_end is None for record in measuring.outcome.records)


@pytest.mark.parametrize(("took_s", "batches"), [(1.0, [2, 4, 8]), (9.6, [])])
def test_a_sweep_goes_on_in_a_later_part_of_its_run_until_its_budget_is_spent(
    took_s: float, batches: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A twentieth is kept for the end."""
    settings = {"budget_s": 10.0, "accuracy": False}
    measuring, _ = begun(tmp_path, monkeypatch, took_s, **settings)
    asked: list[int] = []

    def together(group: Any, todo: Any) -> None:
        for planned in group:
            asked.append(planned.cell.batch)
            call_ns = 1e6 * max(1, planned.cell.batch / 4)
            measuring.outcome.records.append(measured(planned, call_ns))

    monkeypatch.setattr(measuring, "_together", together)
    measuring.run()
    assert asked == batches
    listener: Any = measuring.listener
    assert listener.begun == [2], "which is what is left to do"
    words = "the budget of 10 s is spent, so no larger batches are measured."
    assert [note.startswith(words) for note in listener.notes] == ([] if batches else [True])


def test_the_batches_of_an_earlier_part_of_a_run_count_among_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring, second = begun(tmp_path, monkeypatch)
    measuring.outcome.records.append(measured(second, 1e6))
    store, prepared, outcome = measuring.store, measuring.prepared, measuring.outcome
    later = Measuring(OpenRun(prepared, store, None, measuring.listener, outcome))
    (third,) = next_cells(prepared.plan, outcome.records)
    later.finish(failed(third, Unsupported("no such shape.")))
    listener: Any = later.listener
    assert listener.finished == [2], "this one is added to them where it is measured"


def test_a_larger_batch_whose_energy_was_not_read_gets_it_in_a_later_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"energy": True, "accuracy": False}
    measuring, second = begun(tmp_path, monkeypatch, **settings)
    flat = measured(second, 2e6)
    measuring.outcome.records.append(flat)
    again: list[str] = []
    monkeypatch.setattr(
        measuring, "_together", lambda group, todo: again.extend(p.cell.id for p in group)
    )
    measuring.run()
    assert again == [record.cell_id for record in measuring.outcome.records]
