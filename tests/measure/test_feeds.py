"""Inputs are in memory only while the cells that share them are measured."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_plan import choice, model, suite  # type: ignore[import-not-found]

from bench.arrays import Array
from bench.cards import inputs, query
from bench.cards.datasets import Dataset
from bench.cards.ready import Loaded
from bench.errors import ModelChanged, OutOfMemory
from bench.measure import plan
from bench.measure.measuring import Measuring
from bench.measure.pace.budget import Budget
from bench.measure.plan import PlannedCell, make_plan


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> weakref.WeakSet[Any]:
    """The made-up inputs that something still holds."""
    found: weakref.WeakSet[Any] = weakref.WeakSet()
    made = inputs.random_inputs

    class Kept(np.ndarray[Any, Any]):
        """Hashable by identity, so that a weak set can hold it."""

        __hash__ = object.__hash__  # type: ignore[assignment]

    def random_inputs(*asked: Any) -> dict[str, Array]:
        arrays: dict[str, Array] = {name: a.view(Kept) for name, a in made(*asked).items()}
        for array in arrays.values():
            found.add(array)
        return arrays

    monkeypatch.setattr(query, "random_inputs", random_inputs)
    return found


def count(alive: weakref.WeakSet[Any]) -> int:
    gc.collect()
    return len([one() for one in alive.data])


def test_a_plan_holds_no_inputs(tmp_path: Path, alive: weakref.WeakSet[Any]) -> None:
    cells = make_plan(suite(batch=(2, 4)), [model(tmp_path)], [choice()]).cells
    assert len(cells) == 3
    assert count(alive) == 0


def test_inputs_made_again_are_those_that_were_planned(tmp_path: Path) -> None:
    (one, two) = make_plan(suite(), [model(tmp_path)], [choice()]).cells
    first = one.feeds["x"].copy()
    assert (one.feeds["x"] == first).all()
    assert one.feeds["x"] is not one.feeds["x"]
    assert two.feeds["x"].shape == two.cell.shapes["x"]


def test_a_group_makes_its_inputs_once_and_for_all_its_cells(tmp_path: Path) -> None:
    cells = make_plan(suite(), [model(tmp_path)], [choice("a"), choice("b")]).cells
    one, two = (p for p in cells if p.cell.scenario == "offline")
    with one.inputs.held(), two.inputs.held():
        assert one.feeds["x"] is two.feeds["x"]
    assert one.feeds["x"] is not two.feeds["x"]


def test_samples_that_changed_since_they_were_planned_are_refused(tmp_path: Path) -> None:
    bare = model(tmp_path)
    samples = np.ones((9, 4), np.float32)
    data = Dataset("d", "test", {"x": samples}, np.zeros(9, np.int64), "e" * 64)
    planned = make_plan(suite(), [Loaded(bare.card, bare.file, data)], [choice()]).cells[0]
    samples += 1
    with (
        pytest.raises(ModelChanged, match="changed since the run was planned"),
        planned.inputs.held(),
    ):
        pass


def test_a_batch_of_samples_that_memory_cannot_hold_is_refused_before_it_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = model(tmp_path)
    data = Dataset("d", "test", {"x": np.ones((9, 4), np.float32)}, np.zeros(9, np.int64), "e" * 64)
    monkeypatch.setattr(plan, "spare_bytes", lambda: 3 * 16 * 100 - 1)
    loaded = Loaded(bare.card, bare.file, data)
    asked = suite(scenarios=("offline",), batch=(99, 100))
    fits, too_large = make_plan(asked, [loaded], [choice()]).cells
    assert fits.refused is None
    assert isinstance(too_large.refused, OutOfMemory)
    assert "x is 100x4 float32" in str(too_large.refused)


class Counted(Measuring):
    """Measures nothing: notes how many arrays are alive while a group is."""

    def __init__(self, cells: tuple[PlannedCell, ...], alive: weakref.WeakSet[Any]) -> None:
        self.suite = suite()
        self.prepared = SimpleNamespace(plan=plan.Plan(self.suite, cells))  # type: ignore[assignment]
        self.todo = list(cells)
        self.outcome = SimpleNamespace(records=[])  # type: ignore[assignment]
        self.listener = SimpleNamespace(  # type: ignore[assignment]
            run_started=lambda *_: None, forecast=lambda *_: None
        )
        self.store = SimpleNamespace(path=Path())  # type: ignore[assignment]
        self.stored = None
        self._out_of_memory = set()
        self._overdrawn_s: list[float] = []
        self.forecaster = SimpleNamespace(  # type: ignore[assignment]
            began=lambda: None,
            expected=lambda waiting: None,
            too_short=list,
            energy=SimpleNamespace(ended=lambda: None),
        )
        self.run_budget = Budget(None, len(cells), lambda: 0.0)
        self.alive = alive
        self.seen: list[tuple[int, int]] = []
        self.failures: list[str] = []

    def _crowded(self) -> list[str]:
        return []

    def _measure(self, states: Any) -> None:
        assert all(state.planned.feeds for state in states)
        self.seen.append((len(states), count(self.alive)))

    def finish(self, state: Any) -> None:
        self.failures.append(state.failure.kind)


def test_one_groups_inputs_are_in_memory_at_a_time(
    tmp_path: Path, alive: weakref.WeakSet[Any]
) -> None:
    models = [model(tmp_path, name) for name in ("m", "n")]
    asked = suite(scenarios=("offline",), batch=(2, 4, 8))
    run = Counted(make_plan(asked, models, [choice("a"), choice("b")]).cells, alive)
    run.run()
    assert run.seen == [(4, 2)] * 3
    assert count(alive) == 0


def test_a_group_whose_inputs_find_no_room_any_more_fails_and_the_next_is_measured(
    tmp_path: Path, alive: weakref.WeakSet[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = suite(scenarios=("offline",), batch=(2, 4))
    run = Counted(make_plan(asked, [model(tmp_path)], [choice()]).cells, alive)
    monkeypatch.setattr(plan, "spare_bytes", lambda: 3 * 2 * 4 * 4)
    run.run()
    assert (run.seen, run.failures) == ([(1, 1)], ["out-of-memory"])
