"""What a tune finds out of a configuration besides its costs, over all parts of the tune: that it
computes the right thing, where it ran, and with whom it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from compared_runs import a_header
from fake_records import a_cell, an_invocation

from bench.measure.state import CellState
from bench.record.assemble import Evidence, assemble
from bench.record.facts import CellFacts, ToldPlacement
from bench.record.parity import Reference
from bench.record.result import Record
from bench.store.raw import read_raw
from bench.store.run import StoredRun, read_run
from bench.store.write import RunStore
from bench.trials.tune import measuring
from bench.trials.tune.kept import Asked, Entrant, Tune
from bench.trials.tune.measuring import Tuning
from bench.trials.tune.objective import find_objective

CELL = a_cell(scenario="offline", batch=4)
RIGHT = [np.ones((4, 10), np.float32)]


class Killed(Exception):
    """The process ended there."""


class Part(Tuning):
    """One part of a tune of one configuration, whose processes put out what the test says."""

    def __init__(self, store: RunStore, objective: str, outputs: float = 1.0) -> None:
        self.store, self.outputs = store, [outputs * RIGHT[0]]
        self.stored: StoredRun | None = read_run(store.path)
        self.objective = find_objective(objective, None)
        self.tune = Tune(
            asked=Asked(objective=self.objective.name, target="x:cpu"),  # type: ignore[arg-type]
            entrants=(Entrant(cell_id=CELL.id),),
        )
        self.suite: Any = SimpleNamespace(confidence=0.95)
        self.said: list[str] = []
        self.listener: Any = SimpleNamespace(note=self.said.append)
        self._measured_now, self._windows = set(), []
        self._recall()
        self.states = {CELL.id: self._state(SimpleNamespace(cell=CELL))}  # type: ignore[arg-type]
        self._group: Any = SimpleNamespace(generation_of=self.generation)
        self._canary: Any = None
        self.processes = 0

    def generation(self, states: Sequence[CellState], canary: Any) -> None:
        for state in states:
            self.processes += 1
            told = an_invocation(len(state.invocations), 1e5, CELL)
            self.store.append_invocations([told])
            state.invocations.append(told)
            state.samples[told.index] = np.full(10, 100_000)
            state.outputs, state.group = self.outputs, "race, part 1"
            state.placement = ToldPlacement(nodes={"cpu": 3})

    def _take_windows(self, names: Sequence[str]) -> None: ...

    def _keep(self, **changed: object) -> None:
        self.tune = self.tune.model_copy(update=changed)

    def _recorded(self, state: CellState) -> tuple[Evidence, Record]:
        files = ("", "")
        if state.outputs is not None:
            files = self.store.write_outputs(state.outputs), self.store.write_outputs(RIGHT)
        facts = CellFacts(
            cell_id=CELL.id,
            stop="max-time",
            group=state.group,
            placement=state.placement,
            outputs=files[0],
            reference="r",
            reference_outputs=files[1],
        )
        reference = Reference("r", tuple(RIGHT)) if state.outputs is not None else None
        evidence = Evidence(
            CELL,
            facts,
            state.invocations,
            samples=state.samples,
            outputs=state.outputs,
            reference=reference,
        )
        return evidence, assemble(evidence, 0.95)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore.create(tmp_path, a_header([CELL]).model_copy(update={"keeps_raw": True}))


@pytest.fixture(autouse=True)
def samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of each invocation that the run directory has."""

    def of(self: StoredRun, cell_id: str) -> dict[int, Any]:
        return {i.index: np.full(10, 100_000) for i in self.invocations if i.cell_id == cell_id}

    monkeypatch.setattr(StoredRun, "samples", of)


@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_a_configuration_that_is_not_measured_again_keeps_what_was_found_out_of_it(
    store: RunStore, objective: str
) -> None:
    before = Part(store, objective)
    before.measure([CELL.id])
    state = Part(store, objective).states[CELL.id]
    assert state.placement == before.states[CELL.id].placement is not None
    assert state.group == "race, part 1"
    assert state.outputs is not None
    np.testing.assert_array_equal(state.outputs[0], RIGHT[0])


@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_what_was_stopped_between_a_process_and_its_check_is_checked_in_the_next_part(
    store: RunStore, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its invocation is on the disk by then, and nobody looked at it."""
    first = Part(store, objective, outputs=2.0)
    with monkeypatch.context() as cut:
        cut.setattr(measuring, "_wrong", lambda record: raising())
        with pytest.raises(Killed):
            first.measure([CELL.id])
    assert read_run(store.path).invocations
    assert not read_raw(read_run(store.path)).cells
    second = Part(store, objective, outputs=2.0)
    second.measure([CELL.id])
    assert second.tune.thrown_out[CELL.id].startswith("it is WRONG (parity)")


def raising() -> str:
    raise Killed


def test_by_energy_one_process_is_looked_at_over_all_parts(store: RunStore) -> None:
    first = Part(store, "energy")
    for _ in range(2):
        first.measure([CELL.id])
    second = Part(store, "energy")
    second.measure([CELL.id])
    assert (first.processes, second.processes) == (1, 0)
    assert not second._throw_out_wrong(CELL.id)
    second.states[CELL.id].outputs = [2 * RIGHT[0]]
    assert second._throw_out_wrong(CELL.id)
