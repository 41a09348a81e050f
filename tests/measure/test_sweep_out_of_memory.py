"""A batch that memory can't hold ends its sweep, and fails nothing."""

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

    def note(self, words: str) -> None:
        self.notes.append(words)

    def cell_finished(self, record: Any, number: int, total: int) -> None:
        self.finished.append(total)


def begun(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Measuring, PlannedCell]:
    """A run whose first batch is measured and stored, and the cell of the second."""
    plan = a_plan(folder)
    (first,) = plan.cells
    records = [measured(first, 1e6, throughput=estimate(1e3))]
    prepared: Any = SimpleNamespace(plan=plan, account=None, reports={}, launcher=None)
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
