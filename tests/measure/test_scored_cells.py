"""Which of the cells that were tried are scored, and what is kept of one that failed."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_sweep_out_of_memory import begun

from bench.errors import OutOfMemory, Unsupported
from bench.measure.measuring import Measuring
from bench.measure.pace.account import Account
from bench.measure.plan import PlannedCell
from bench.measure.scoring import Score, Turn
from bench.measure.state import CellState


@pytest.fixture
def second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Measuring, PlannedCell, list[PlannedCell]]:
    """A run, a cell of it that isn't measured yet, and the cells that are scored."""
    measuring, planned = begun(tmp_path, monkeypatch)
    scored: list[PlannedCell] = []
    monkeypatch.setattr(measuring, "_to_be_scored", lambda planned: True)
    monkeypatch.setattr(measuring, "_score_turn", lambda turn, told=None: scored.extend(turn.cells))
    return measuring, planned, scored


@pytest.mark.parametrize("ran", [True, False])
def test_a_model_that_never_ran_on_its_target_is_not_scored_there(second: Any, ran: bool) -> None:
    measuring, planned, scored = second
    state = CellState(planned, ran=ran, failure=Unsupported("no such kernel."), stop="failed")
    measuring._first_seen([state])
    assert scored == [planned] * ran
    measuring._finish_tried(state)
    assert scored == [planned] * 2 * ran
    assert [record.status for record in measuring.outcome.records] == ["ok", "failed"]


def test_nobody_waits_for_the_score_of_a_model_that_never_ran(second: Any) -> None:
    measuring, planned, _ = second
    measuring.forecaster.left_to_score(1)
    assert measuring.forecaster.to_score_s > 0
    failure = Unsupported("no such kernel.")
    measuring._finish_tried(CellState(planned, failure=failure, stop="failed"))
    assert measuring.forecaster.to_score_s == 0


def test_a_cell_that_failed_before_an_interrupt_is_failed_and_not_partial(second: Any) -> None:
    """Its record waits for the end of its generation, which did not come."""
    measuring, planned, scored = second
    measuring._under_way = [
        CellState(planned, ran=True, failure=Unsupported("no such kernel."), stop="failed")
    ]
    measuring.keep_partial()
    assert [record.status for record in measuring.outcome.records] == ["ok", "failed"]
    assert scored == []


def test_a_batch_that_did_not_fit_before_an_interrupt_ends_its_sweep(second: Any) -> None:
    measuring, planned, _ = second
    measuring._under_way = [CellState(planned, failure=OutOfMemory("no room."), stop="failed")]
    measuring.keep_partial()
    (record,) = measuring.outcome.records
    assert record.sweep_end.batch == 2


def test_what_is_scored_beyond_its_time_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring, planned = begun(tmp_path, monkeypatch)
    measuring.account, ended = Account(), threading.Event()
    measuring.listener.phase = lambda words: None  # type: ignore[method-assign]
    measuring.forecaster.scored = lambda *told: None  # type: ignore[method-assign]

    def hangs(planned: PlannedCell, *, alone: bool) -> Score:
        ended.wait()
        raise Unsupported("it was killed.")

    monkeypatch.setattr(measuring, "_score_of", hangs)
    monkeypatch.setattr(measuring, "_scoring_left_s", lambda: 0.05)
    try:
        measuring._score_turn(Turn([planned], 1))
        assert measuring._score_known(planned) is None
    finally:
        ended.set()
    monkeypatch.setattr(measuring, "_scoring_left_s", lambda: None)
    measuring._score_turn(Turn([planned], 1))
    assert isinstance(measuring._score_known(planned), Unsupported)


@pytest.mark.parametrize(("at_once", "tries"), [(2, {"a": 1, "b": 2}), (1, {"a": 1, "b": 1})])
def test_what_runs_out_of_memory_beside_others_is_scored_once_more_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
    tries: dict[str, int],
) -> None:
    """Alone it has no score for want of memory."""
    measuring, planned = begun(tmp_path, monkeypatch)
    monkeypatch.setattr(measuring, "account", Account())
    told: list[str] = []
    monkeypatch.setattr(measuring, "listener", SimpleNamespace(phase=told.append))
    cells = [
        replace(planned, cell=planned.cell.model_copy(update={"target": f"{name}:cpu"}))
        for name in ("a", "b")
    ]
    tried: Counter[str] = Counter()

    def score_of(planned: PlannedCell, *, alone: bool) -> str:
        name = planned.cell.target[0]
        tried[name] += 1
        if name == "b" and tried[name] <= 1:
            raise OutOfMemory("no memory for the data set.")
        return f"the score of {name}"

    monkeypatch.setattr(measuring, "_score_of", score_of)
    measuring._score_turn(Turn(cells, at_once))
    assert tried == tries
    found = {target: score for (_, _, _, target, _), score in measuring.scores.items()}
    assert found["a:cpu"] == "the score of a"
    assert (found["b:cpu"] == "the score of b") == (at_once > 1)
