"""A batch that memory can't hold ends its sweep, and fails nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_batch_sweep import a_plan, measured

from bench.errors import BenchError, OutOfMemory, Unsupported
from bench.measure.measuring import Measuring, OpenRun
from bench.measure.plan import PlannedCell
from bench.measure.state import CellState
from bench.measure.sweep import next_cells


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
    """A run whose first batch is measured, and the cell of the second."""
    plan = a_plan(folder)
    records = [measured(plan.cells[0], 1e6)]
    prepared: Any = SimpleNamespace(plan=plan, account=None, reports={}, launcher=None)
    outcome: Any = SimpleNamespace(records=records)
    store: Any = SimpleNamespace(append_facts=lambda facts: None, append_record=lambda one: None)
    listener: Any = Listener()
    measuring = Measuring(OpenRun(prepared, store, None, listener, outcome))
    facts = SimpleNamespace(outputs="x", not_compared="", not_scored="")

    def recorded(state: CellState) -> tuple[Any, Any]:
        failed = measured(state.planned, 1e6, status="failed", stop="failed")
        return SimpleNamespace(facts=facts, reference=None), failed

    monkeypatch.setattr(measuring, "_recorded", recorded)
    (second,) = next_cells(plan, records, ())
    return measuring, second


def failed(planned: PlannedCell, error: BenchError) -> CellState:
    return CellState(planned, failure=error, stop="failed")


def test_a_larger_batch_that_runs_out_of_memory_is_told_and_is_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring, second = begun(tmp_path, monkeypatch)
    measuring.finish(failed(second, OutOfMemory("the GPU has 1 GiB left.")))
    assert len(measuring.outcome.records) == 1
    listener: Any = measuring.listener
    (note,) = listener.notes
    assert "batch 2 doesn't fit into memory, which ends its sweep: the GPU has 1 GiB left" in note
    ended = measuring._out_of_memory
    assert next_cells(measuring.prepared.plan, measuring.outcome.records, ended) == []


def test_any_other_failure_is_a_failed_row_and_so_is_the_first_batch_without_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring, second = begun(tmp_path, monkeypatch)
    measuring.finish(failed(second, Unsupported("no such shape.")))
    assert [record.status for record in measuring.outcome.records] == ["ok", "failed"]
    (first,) = measuring.prepared.plan.cells
    measuring.finish(failed(first, OutOfMemory("no room at all.")))
    assert [record.status for record in measuring.outcome.records] == ["ok", "failed", "failed"]
    assert not measuring._out_of_memory
