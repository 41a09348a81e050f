"""How a tune decides: the race, the confirmation on fresh processes, what is kept of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_records import a_cell
from made_up_field import Clock

from bench.measure import measuring
from bench.measure.pace.account import Account
from bench.record.result import Invocation
from bench.spec import Suite
from bench.trials.tune.kept import Asked, Entrant, Tune
from bench.trials.tune.measuring import Tuning
from bench.trials.tune.objective import find_objective
from bench.trials.tune.race import CONFIRMATIONS, Budget, Pace

#: What a process of a configuration measures in ns; ``confirming``: the choice is made.
Truth = Callable[[int, bool], float]


class Raced(Tuning):
    """A tune whose processes measure what the test says, with 1% of noise."""

    def __init__(self, truth: Truth, count: int, **asked: Any) -> None:
        cells = [a_cell(threads=n + 1, target=f"x:cpu?n={n}") for n in range(count)]
        self.place = {cell.id: n for n, cell in enumerate(cells)}
        self.truth, self.rng = truth, np.random.default_rng(3)
        self.wrong: set[str] = set()
        self.generations: list[list[int]] = []
        self.interrupted = -1  #: at this generation
        self.tune = Tune(
            asked=Asked(objective="latency", target="x:cpu", **asked),
            entrants=tuple(Entrant(cell_id=cell.id) for cell in cells),
        )
        self.objective = find_objective("latency", None)
        self.suite = Suite()
        self.clock = Clock()
        self.budget = Budget(1e9, clock=self.clock)
        self.pace = Pace(self.budget)
        self.kept: list[str] = []
        self.listener: Any = SimpleNamespace(note=self.kept.append, phase=lambda words: None)
        self.store: Any = SimpleNamespace(write_atomically=lambda name, text: None)
        context = SimpleNamespace(rng=np.random.default_rng(5))
        self._group: Any = SimpleNamespace(generation=7, context=context)
        self._windows = []
        self._canary: Any = None
        self.states = {
            cell.id: SimpleNamespace(cell=cell, invocations=[], failure=None, planned=None)
            for cell in cells
        }  # type: ignore[assignment]

    def resumed(self, max_time_s: float) -> Raced:
        """The same tune in a new process, which has what was measured and kept."""
        again = Raced(self.truth, len(self.states))
        again.tune, again.states = self.tune, self.states
        again.budget = Budget(max_time_s, self.tune.spent_s, clock=again.clock)
        again.pace = Pace(again.budget, 0, 0.0, self.tune.turns_s, self.tune.turns)
        again._group.generation = self._group.generation
        return again

    def _take_blocks(self, names: Sequence[str]) -> None:
        if self._group.generation == self.interrupted:
            raise KeyboardInterrupt
        self.clock.now += len(names)
        self.generations.append(sorted(self.place[name] for name in names))
        for name in names:
            true = self.truth(self.place[name], self.tune.raced_until is not None)
            median_ns = true * float(np.exp(self.rng.normal(0, 0.01)))
            told = Invocation.model_construct(index=self._group.generation, median_ns=median_ns)
            self.states[name].invocations.append(told)
        self._group.generation += 1

    def _throw_out_wrong(self, cell_id: str) -> bool:
        is_wrong = self.tune.confirming == cell_id and cell_id in self.wrong
        if is_wrong:
            self._throw_out(cell_id, "it is WRONG (parity)")
        return is_wrong


def test_the_gain_is_measured_in_processes_that_took_no_part_in_the_choice() -> None:
    """While it was chosen the third was lucky."""
    tuning = Raced(lambda n, confirming: (0.9e6 if confirming else 0.5e6) if n == 2 else 1e6, 4)
    tuning._decide()
    tune, found = tuning.tune, tuning.tune.found
    assert found is not None
    assert tuning.place[found.pick] == 2
    assert found.gain is not None
    assert found.gain.over == tune.default
    assert found.gain.processes == CONFIRMATIONS
    assert found.gain.ratio.low < 1 / 0.9 < found.gain.ratio.high
    # The race ended before, and then the pick and the default alone were measured, side by side.
    assert tune.raced_until == tune.confirmed_from
    assert tune.raced_until is not None
    assert tuning.generations[tune.raced_until - 7 :] == [[0, 2]] * CONFIRMATIONS


def test_what_is_to_be_compared_takes_part_in_the_confirmation() -> None:
    tuning = Raced(lambda n, confirming: 0.5e6 if n == 2 else 1e6 + n, 4)
    other = tuning.tune.entrants[3]
    tuning.tune = tuning.tune.model_copy(update={"against": (other,)})
    tuning._decide()
    assert tuning.tune.found is not None
    assert tuning.generations[-1] == [0, 2, 3]
    (against,) = tuning.tune.found.against
    assert (against.over, against.processes) == (other.cell_id, CONFIRMATIONS)


def test_a_pick_that_turns_out_wrong_gives_way_and_the_next_is_confirmed_anew() -> None:
    tuning = Raced(lambda n, confirming: {1: 0.5e6, 2: 0.6e6}.get(n, 1e6), 4)
    first = tuning.tune.entrants[1].cell_id
    tuning.wrong = {first}
    tuning._decide()
    tune, found = tuning.tune, tuning.tune.found
    assert found is not None
    assert tune.thrown_out == {first: "it is WRONG (parity)"}
    assert tuning.place[found.pick] == 2
    assert found.gain is not None
    assert found.gain.processes == CONFIRMATIONS
    assert tune.confirmed_from is not None
    assert tune.raced_until is not None
    assert tune.confirmed_from == tune.raced_until + CONFIRMATIONS


# -- resumed --------------------------------------------------------------------------------------

#: Seconds in which four configurations that hardly differ can't be raced to the end; two of them
#: are confirmed in 24 s.
SHORT_S = 45.0


def short() -> Raced:
    tuning = Raced(lambda n, confirming: 0.9e6 - 0.012e6 * n if n else 1e6, 4)
    tuning.budget = Budget(SHORT_S, clock=tuning.clock)
    tuning.pace = Pace(tuning.budget)
    return tuning


def cut_off(confirmed: int) -> Raced:
    """A tune whose race the time cut off, interrupted after so many processes of the confirmation's
    12."""
    whole, tuning = short(), short()
    whole._decide()
    assert whole.tune.found is not None
    assert not whole.tune.found.over
    assert whole.tune.raced_until is not None
    tuning.interrupted = whole.tune.raced_until + confirmed
    with pytest.raises(KeyboardInterrupt):
        tuning._decide()
    assert tuning.tune.raced_until == whole.tune.raced_until
    return tuning


@pytest.mark.parametrize("max_time_s", [SHORT_S, 900.0])
def test_a_confirmation_that_began_goes_on_and_nothing_is_raced_any_more(max_time_s: float) -> None:
    before = cut_off(confirmed=3)
    tuning = before.resumed(max_time_s)
    tuning._decide()
    assert tuning.tune.raced_until == before.tune.raced_until
    assert tuning.tune.confirmed_from == before.tune.confirmed_from
    found = tuning.tune.found
    assert found is not None
    both = sorted(tuning.place[name] for name in (found.pick, tuning.tune.default))
    assert tuning.generations
    assert all(names == both for names in tuning.generations)
    assert tuning.budget.left_s >= 0
    if max_time_s > SHORT_S:
        assert len(tuning.generations) == CONFIRMATIONS - 3


def test_a_race_that_the_time_cut_off_is_raced_on_where_there_is_more() -> None:
    before = cut_off(confirmed=0)
    tuning = before.resumed(900.0)
    tuning._decide()
    was, until = before.tune.raced_until, tuning.tune.raced_until
    assert was is not None
    assert until is not None
    assert until > was
    assert tuning.tune.found is not None
    assert tuning.tune.found.over
    assert tuning.tune.found.gain is not None
    assert tuning.tune.found.gain.processes == CONFIRMATIONS
    assert tuning.tune.confirmed_from == until


def test_a_race_that_the_time_cut_off_stays_so_without_more() -> None:
    before = cut_off(confirmed=0)
    tuning = before.resumed(SHORT_S)
    tuning._decide()
    assert tuning.tune.raced_until == before.tune.raced_until
    assert tuning.budget.left_s >= 0


def test_what_a_process_takes_is_known_before_the_first_one_of_a_resumed_tune() -> None:
    before = cut_off(confirmed=3)
    used_up = before.tune.spent_s + 0.5
    tuning = before.resumed(used_up)
    tuning._decide()
    assert tuning.generations == []
    assert tuning.tune.found is not None
    assert tuning.tune.found.gain is not None
    assert tuning.tune.found.gain.processes == 3


# -- profiles -------------------------------------------------------------------------------------


def profiled(tuning: Raced, monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    """Which configurations were profiled, in order, where each of their sessions takes so long;
    all of them are decided on and finished."""
    found: list[int] = []

    def profile(planned: Any, context: Any) -> None:
        tuning.clock.now += seconds
        found.append(tuning.place[planned.cell.id])

    monkeypatch.setattr(measuring, "profiled_placement", profile)
    monkeypatch.setattr(Raced, "_context", lambda self, planned: None)
    monkeypatch.setattr(Raced, "finish", Raced._profiled)
    tuning.placements = {}
    tuning.account = Account()
    for state in tuning.states.values():
        state.planned = SimpleNamespace(cell=state.cell)
        state.placement, state.profiles = SimpleNamespace(off_device=()), True
        state.stop = None
    tuning._decide()
    tuning._finish_all()
    return found


def test_only_what_the_result_names_is_profiled(monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = Raced(lambda n, confirming: 0.5e6 + n if n in (2, 5) else 1e6, 8)
    tuning.tune = tuning.tune.model_copy(update={"against": (tuning.tune.entrants[4],)})
    found = profiled(tuning, monkeypatch, 1)
    assert tuning.tune.found is not None
    assert [tuning.place[one.cell_id] for one in tuning.tune.found.best] == [2, 5]
    assert found == [2, 0, 4, 5]


@pytest.mark.parametrize("seconds", [1.0, 4.0, 40.0])
def test_profiles_are_taken_within_the_time(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """They are the last thing that a tune does, and none begins that doesn't end in time; one that
    takes as long as a process has its time kept."""
    tuning = Raced(lambda n, confirming: 0.5e6 if n > 0 else 1e6, 30)
    tuning.budget = Budget(150.0, clock=tuning.clock)
    tuning.pace = Pace(tuning.budget)
    found = profiled(tuning, monkeypatch, seconds)
    assert found[:2] == [1, 0][: len(found)]
    assert len(found) < 30
    over_s = max(0.0, -tuning.budget.left_s)
    assert over_s == 0 if seconds <= 1 else over_s < seconds
    if seconds <= 1:
        assert len(found) >= 2


def test_a_confirmation_that_the_time_cuts_off_leaves_some_for_the_profiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tuning = short()
    found = profiled(tuning, monkeypatch, 1)
    assert tuning.tune.found is not None
    assert tuning.tune.found.gain is not None
    assert 0 < tuning.tune.found.gain.processes < CONFIRMATIONS
    assert len(found) >= 2
    assert tuning.budget.left_s >= 0
