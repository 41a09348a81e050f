"""`bench tune --within`: what is scored when, what it costs of the time, and who is thrown out."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from compared_runs import a_header
from fake_records import a_cell
from raced_tunes import Scored

from bench.cards.tasks.base import Judged
from bench.errors import AccuracyFailed
from bench.measure.scoring import Score
from bench.record.facts import Scored as Kept
from bench.spec import Suite
from bench.store.write import RunStore
from bench.trials.tune.kept import Asked, Tune
from bench.trials.tune.race import CONFIRMATIONS
from bench.trials.tune.scoring import Scoring


def a_race(n: int, again: bool) -> float:
    """The third is the best, then come the second and the fourth."""
    return {1: 0.55e6, 2: 0.5e6, 3: 0.6e6}.get(n, 1e6)


def test_the_original_comes_first_and_the_pick_before_its_confirmation() -> None:
    tuning = Scored(a_race, 4)
    tuning._decide()
    assert tuning.scored[0] == 0
    assert tuning.scored[1] == 2
    assert tuning.confirmations() == [(2, CONFIRMATIONS)]
    tuning = Scored(a_race, 4)
    tuning.worse = {2: "it is less accurate"}
    tuning._decide()
    found = tuning.tune.found
    assert found is not None
    assert tuning.place[found.pick] == 1
    assert tuning.confirmations() == [(1, CONFIRMATIONS)], "nobody is confirmed in vain"


def test_nothing_is_measured_where_the_original_can_not_be_scored() -> None:
    """Nobody could be compared with it."""
    tuning = Scored(a_race, 4)
    tuning.fails = {0}
    with pytest.raises(AccuracyFailed, match=r"--within can't be checked.*died of SIGSEGV"):
        tuning._decide()
    assert tuning.generations == []


@pytest.mark.parametrize("seconds", [1.0, 5.0, 20.0, 29.0])
def test_a_tune_keeps_its_time_however_long_scoring_takes(seconds: float) -> None:
    """Scoring leaves time for a race, and another form is left out where it would not."""
    tuning = Scored(a_race, 4, forms={3: "int8-dynamic"}, scoring_s=seconds)
    tuning.within(60.0)
    tuning._decide()
    assert tuning.budget.left_s >= 0
    found = tuning.tune.found
    assert found is not None
    assert found.processes >= 3
    assert found.pick
    late = [why for why in tuning.tune.not_tried.values() if "to score it" in why]
    assert late == ["no time to score it in 60 s"] * (seconds >= 20)


def test_an_original_that_takes_too_long_to_score_ends_the_tune() -> None:
    tuning = Scored(a_race, 4, scoring_s=200.0)
    tuning.within(60.0)
    with pytest.raises(AccuracyFailed, match=r"more than half of the time.*--max-time 60s"):
        tuning._decide()
    assert tuning.clock.now == 30.0


def test_time_to_score_the_pick_is_kept() -> None:
    tuning = Scored(lambda n, again: 0.9e6 - 0.012e6 * n if n else 1e6, 4, scoring_s=8.0)
    tuning.within(60.0)
    tuning._decide()
    found = tuning.tune.found
    assert found is not None
    assert found.pick != tuning.tune.default
    assert tuning.place[found.pick] in tuning.scored
    assert found.gain is not None
    assert found.gain.processes > CONFIRMATIONS / 2, "scoring took the time of the confirmation"
    assert tuning.budget.left_s >= 0


def test_what_there_is_no_time_to_score_is_in_doubt_and_no_pick() -> None:
    tuning = Scored(lambda n, again: 0.5e6 if n else 1e6, 4, scoring_s=20.0)
    tuning.within(95.0)
    tuning._decide()
    found = tuning.tune.found
    assert found is not None
    assert tuning.place[found.pick] == 1
    doubts = {tuning.place[one.cell_id]: one.doubt for one in found.best}
    assert doubts == dict.fromkeys((2, 3), "no time to score it with these options") | {1: ""}
    assert tuning.scored == [0, 1], "nothing is begun that doesn't end in time"
    # With more time they are scored, too.
    more = tuning.resumed(900.0)
    more._decide()
    assert more.tune.found is not None
    assert [one.doubt for one in more.tune.found.best] == ["", "", ""]


def test_all_that_are_returned_are_as_accurate_and_not_the_pick_alone() -> None:
    tuning = Scored(lambda n, again: 0.5e6 if n else 1e6, 4)
    tuning.worse = {3: "it is less accurate"}
    tuning._decide()
    found = tuning.tune.found
    assert found is not None
    assert [tuning.place[one.cell_id] for one in found.best] == [1, 2]
    assert list(tuning.tune.thrown_out.values()) == ["it is less accurate"]


def test_who_fell_against_one_that_turns_out_less_accurate_is_looked_at_again() -> None:
    """The third fell early against the fourth, which is scored after the confirmation, and comes
    back unscored: the second's processes differ too much for it to have fallen against that."""
    processes = itertools.cycle((0.47e6, 0.505e6, 0.545e6))
    tuning = Scored(
        lambda n, again: next(processes) if n == 1 else {2: 0.6e6, 3: 0.5e6}.get(n, 1e6), 4
    )
    tuning.worse = {3: "it is less accurate"}
    tuning._decide()
    found = tuning.tune.found
    assert found is not None
    assert tuning.scored == [0, 1, 3, 2]
    assert tuning.place[found.pick] == 1
    assert found.over


def refutable(**known: Any) -> Scored:
    """The third is the best, and in its confirmation worse than the fourth, which it is to be
    compared with."""
    tuning = Scored(lambda n, again: 0.7e6 if again and n == 2 else a_race(n, again), 4, **known)
    tuning.against(3)
    return tuning


def test_a_pick_is_refuted_by_one_that_is_as_accurate() -> None:
    tuning = refutable()
    tuning._decide()
    assert tuning.tune.found is not None
    assert tuning.place[tuning.tune.found.pick] != 2
    assert [tuning.place[name] for name in tuning.tune.thrown_out] == [2]


def test_one_that_is_less_accurate_refutes_nothing() -> None:
    tuning = refutable()
    tuning.worse = {3: "it is less accurate"}
    tuning._decide()
    assert tuning.tune.found is not None
    assert tuning.place[tuning.tune.found.pick] == 2
    assert [tuning.place[name] for name in tuning.tune.thrown_out] == [3]


def test_one_that_there_is_no_time_to_score_refutes_nothing() -> None:
    tuning = refutable(scoring_s=200.0)
    tuning.within(650.0)
    tuning._decide()
    assert tuning.scored == [0, 2], "the original and the pick"
    assert tuning.confirmations() == [(2, CONFIRMATIONS)]
    assert tuning.tune.found is not None
    assert tuning.place[tuning.tune.found.pick] == 2
    assert tuning.tune.thrown_out == {}


def test_one_that_turns_out_wrong_refutes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = refutable()
    tuning.wrong = {tuning.tune.entrants[3].cell_id}
    monkeypatch.setattr(tuning, "confirmed", lambda name: tuning.tune.confirmations != ())
    tuning._decide()
    assert tuning.tune.found is not None
    assert tuning.place[tuning.tune.found.pick] == 2
    assert list(tuning.tune.thrown_out) == list(tuning.wrong)


def test_a_form_that_is_less_accurate_is_thrown_out_before_the_race() -> None:
    tuning = Scored(a_race, 4, forms={2: "int8-dynamic", 3: "int8-dynamic"})
    tuning.worse = {2: "it is less accurate"}
    tuning._decide()
    assert {tuning.place[name] for name in tuning.tune.thrown_out} == {2, 3}
    assert all(set(names) <= {0, 1} for names in tuning.generations)


def test_a_default_of_another_form_is_compared_with_the_original_and_still_gained_over() -> None:
    """`--variant int8-static`: the model as it is takes no part in the race."""
    tuning = Scored(a_race, 4, forms={0: "int8-static"})
    tuning.original = SimpleNamespace(cell=a_cell(), place=9)  # type: ignore[assignment]
    tuning.worse = {0: "it is less accurate"}
    tuning._decide()
    found = tuning.tune.found
    assert found is not None
    assert tuning.scored[0] == 9
    assert tuning.tune.thrown_out == {tuning.tune.default: "it is less accurate"}
    assert tuning.place[found.pick] == 2
    assert found.gain is not None
    assert found.gain.processes == CONFIRMATIONS


def test_what_there_was_no_time_to_score_is_raced_where_there_is_more() -> None:
    before = Scored(a_race, 4, forms={2: "int8-dynamic", 3: "int8-dynamic"}, scoring_s=20.0)
    before.within(60.0)
    before._decide()
    assert {before.place[name] for name in before.tune.not_tried} == {2, 3}
    tuning = before.resumed(900.0)
    tuning._decide()
    assert tuning.tune.not_tried == {}
    assert tuning.tune.found is not None
    assert tuning.place[tuning.tune.found.pick] == 2


def test_what_came_too_late_to_be_scored_is_raced_after_an_interrupt_that_leaves_time() -> None:
    """Nothing is known of the pace then: the first round of the race didn't end."""
    before = Scored(a_race, 4, forms={2: "int8-dynamic", 3: "int8-dynamic"}, scoring_s=110.0)
    before.within(400.0)
    before.interrupted = before._group.generation
    with pytest.raises(KeyboardInterrupt):
        before._decide()
    assert {before.place[name] for name in before.tune.not_tried} == {2, 3}
    tuning = before.resumed(400.0)
    tuning._decide()
    assert tuning.tune.not_tried == {}
    assert {2, 3} <= {place for names in tuning.generations for place in names}


def test_what_a_round_took_is_kept_with_what_it_measured() -> None:
    before = Scored(a_race, 4)
    before.interrupted = before._group.generation + 1
    with pytest.raises(KeyboardInterrupt):
        before._decide()
    assert (before.tune.turns, before.tune.turns_s) == (4, 4.0)


def test_nothing_is_scored_twice_and_no_time_is_needed_for_what_was_scored() -> None:
    before = Scored(a_race, 4, scoring_s=5.0)
    before.interrupted = 7 + 12
    with pytest.raises(KeyboardInterrupt):
        before._decide()
    for seconds in (before.tune.spent_s, 900.0):
        tuning = before.resumed(seconds)
        tuning._decide()
        assert set(tuning.scored).isdisjoint(before.scored)
        assert tuning.tune.found is not None
        assert tuning.place[tuning.tune.found.pick] == 2


# -- what it says ---------------------------------------------------------------------------------


class Stored(Scoring):
    """One with predictions of 10,000 items, of which the original gets nine in ten right."""

    def __init__(self, folder: Path) -> None:
        self.store = RunStore.create(folder, a_header([]))
        self.suite, self._worse_by = Suite(), {}
        self.tune = Tune(
            asked=Asked(objective="latency", target="x:cpu", within=0.005), entrants=()
        )
        self.original = self.predicting("original", np.arange(ITEMS) % 10 > 0)

    def predicting(self, name: str, right: np.ndarray) -> Any:  # type: ignore[type-arg]
        """A cell whose model has these items right."""
        label = np.arange(ITEMS) % 7
        columns = {"label": label, "predicted": np.where(right, label, 8)}
        self.store.write_predictions(name, columns)
        return SimpleNamespace(cell=a_cell(target=name))

    def _score_known(self, planned: Any) -> Any:
        file = f"predictions/{planned.cell.target}.parquet"
        kept = Kept(dataset="d", dataset_sha256="e" * 64, predictions=file, notes=())
        return Score(kept, Judged((), ()))


ITEMS = 10_000


def test_what_loses_less_than_is_allowed_is_shown_to_and_what_may_lose_more_is_not(
    tmp_path: Path,
) -> None:
    tuning = Stored(tmp_path)
    assert tuning._worse(tuning.original) == ""
    few = (np.arange(ITEMS) % 10 > 0) & (np.arange(ITEMS) % 1000 != 1)
    assert tuning._worse(tuning.predicting("few", few)) == ""
    many = (np.arange(ITEMS) % 10 > 0) & (np.arange(ITEMS) % 200 != 1)
    assert "may be more than 0.50 points worse" in tuning._worse(tuning.predicting("many", many))


def test_predictions_that_can_not_be_compared_cost_one_form_and_not_the_tune(
    tmp_path: Path,
) -> None:
    tuning = Stored(tmp_path)
    lost = tuning.predicting("lost", np.arange(ITEMS) % 10 > 0)
    (tuning.store.path / "predictions" / "lost.parquet").write_bytes(b"")
    assert "can't be compared with the original's" in tuning._worse(lost)
    others = tuning.predicting("others", np.arange(ITEMS) % 10 > 0)
    tuning.store.write_predictions(
        "others", {"label": np.zeros(5, np.int64), "predicted": np.zeros(5, np.int64)}
    )
    assert "different examples" in tuning._worse(others)
