"""How a tune decides: the race, the confirmation on fresh processes, what is kept of both."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from compared_runs import a_header
from raced_tunes import Bounded, Raced

from bench.errors import BenchError, SpecError, WorkerCrashed
from bench.measure import measuring
from bench.measure.measuring import OpenRun, Outcome
from bench.measure.pace.account import Account
from bench.measure.plan import Plan
from bench.measure.prepare import Prepared
from bench.spec import Suite
from bench.store.files import TUNE
from bench.store.write import RunStore
from bench.trials.tune.kept import Found
from bench.trials.tune.measuring import Tuning
from bench.trials.tune.objective import find_objective
from bench.trials.tune.race import CONFIRMATIONS, LAST


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
    assert tuning.confirmations() == [(2, CONFIRMATIONS)]
    assert tuning.generations[-CONFIRMATIONS:] == [[0, 2]] * CONFIRMATIONS
    assert [0, 2] not in tuning.generations[:-CONFIRMATIONS]


def test_what_is_to_be_compared_takes_part_in_the_confirmation() -> None:
    tuning = Raced(lambda n, confirming: 0.5e6 if n == 2 else 1e6 + n, 4)
    tuning.against(3)
    tuning._decide()
    assert tuning.tune.found is not None
    assert tuning.generations[-1] == [0, 2, 3]
    (against,) = tuning.tune.found.against
    assert (tuning.place[against.over], against.processes) == (3, CONFIRMATIONS)


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
    assert tuning.confirmations() == [(1, CONFIRMATIONS), (2, CONFIRMATIONS)]


# -- a confirmation that refutes its pick ---------------------------------------------------------


def test_a_pick_that_its_confirmation_refutes_gives_way_to_the_next_one() -> None:
    """The third was lucky in the race; the gain of the second is its own confirmation's."""
    truth = {1: 0.8e6, 2: 0.5e6}
    tuning = Raced(lambda n, again: 1.3e6 if again and n == 2 else truth.get(n, 1e6), 4)
    found = finished(tuning)
    assert tuning.place[found.pick] == 1
    assert tuning.confirmations() == [(2, CONFIRMATIONS), (1, CONFIRMATIONS)]
    assert found.gain is not None
    assert found.gain.processes == CONFIRMATIONS
    assert found.gain.ratio.low < 1 / 0.8 < found.gain.ratio.high
    (why,) = tuning.tune.thrown_out.values()
    assert "worse than the default" in why
    assert "12 processes" in why


def test_the_default_is_returned_where_nobody_else_is_better() -> None:
    tuning = Raced(lambda n, again: (1.3e6 if again else 0.5e6) if n == 2 else 1e6 + 2e5 * n, 4)
    found = finished(tuning)
    assert found.pick == tuning.tune.default
    assert found.gain is None


def test_a_pick_that_is_worse_than_what_it_is_compared_with_gives_way_to_it() -> None:
    truth = {2: 0.5e6, 3: 0.55e6}
    tuning = Raced(lambda n, again: 0.7e6 if again and n == 2 else truth.get(n, 1e6), 4)
    tuning.against(3)
    found = finished(tuning)
    assert tuning.place[found.pick] == 3
    assert found.gain is not None
    assert found.gain.processes == CONFIRMATIONS


def test_who_fell_against_a_pick_that_is_refuted_is_raced_on() -> None:
    """So that the next pick is chosen as surely as the first."""
    truth = {1: 0.8e6, 2: 0.5e6, 3: 0.79e6}
    tuning = Raced(lambda n, again: 1.3e6 if again and n == 2 else truth.get(n, 1e6), 4)
    found = finished(tuning)
    assert found.over
    raced = tuning._costs().raced(tuning.tune)
    counts = {tuning.place[name]: len(values) for name, values in raced.items()}
    assert counts[1] == counts[3] > 3


class EndsWrong(Raced):
    """One whose wrong configurations put that out in their last process of the race."""

    def _throw_out_wrong(self, cell_id: str) -> bool:
        if cell_id in self.wrong:
            self._throw_out(cell_id, "it is WRONG (parity)")
        return cell_id in self.wrong


def test_who_fell_against_one_that_turns_out_wrong_is_raced_on() -> None:
    tuning = EndsWrong(lambda n, again: {1: 0.6e6, 2: 0.5e6, 3: 0.594e6}.get(n, 1e6), 4)
    tuning.wrong = {tuning.tune.entrants[2].cell_id}
    found = finished(tuning)
    assert found.over
    raced = tuning._costs().raced(tuning.tune)
    counts = {tuning.place[name]: len(values) for name, values in raced.items()}
    assert counts[1] == counts[3] > 3


# -- a confirmation in which something fails ------------------------------------------------------


def confirmed_with(crashes: dict[int, int]) -> Raced:
    """A tune whose pick, the third, is compared with the fourth, too."""
    tuning = Raced(lambda n, again: {2: 0.5e6, 1: 0.6e6}.get(n, 1e6 + n), 4)
    tuning.against(3)
    tuning.crashes = crashes
    tuning._decide()
    return tuning


@pytest.mark.parametrize("process", [1, 3])
def test_a_comparison_that_crashes_costs_the_gain_over_the_default_nothing(process: int) -> None:
    found = confirmed_with({3: process}).tune.found
    assert found is not None
    assert found.gain is not None
    assert found.gain.processes == CONFIRMATIONS
    assert found.against == ()


@pytest.mark.parametrize("process", [1, 3])
def test_a_default_that_crashes_costs_the_other_comparisons_nothing(process: int) -> None:
    found = confirmed_with({0: process}).tune.found
    assert found is not None
    assert found.gain is None
    assert [one.processes for one in found.against] == [CONFIRMATIONS]


def test_a_pick_that_crashes_gives_way_to_the_next_one() -> None:
    tuning = confirmed_with({2: 3})
    found = tuning.tune.found
    assert found is not None
    assert tuning.place[found.pick] == 1
    assert tuning.confirmations() == [(2, 3), (1, CONFIRMATIONS)]
    assert found.gain is not None
    assert found.gain.processes == CONFIRMATIONS


# -- a bound on latencies -------------------------------------------------------------------------


@pytest.mark.parametrize("query_ms", [4, 6, 20, 60, 1000])
def test_a_bound_that_is_kept_is_shown_to_be_where_there_is_time(query_ms: int) -> None:
    """Few queries of that length fit into a process, and a p99 takes 662."""
    tuning = Bounded(lambda n, again: query_ms * 1e6 * (1.5 if n else 1), 4, 5_000_000_000)
    found = finished(tuning)
    assert found.pick == tuning.tune.default
    assert found.over


def test_a_bound_is_kept_by_the_best_though_the_default_breaks_it() -> None:
    """A gain below 1 doesn't refute it then."""
    tuning = Bounded(lambda n, again: {0: 40e6, 1: 60e6}.get(n, 90e6), 3)
    tuning.slow = {0: 0.2}
    tuning.objective = find_objective("throughput", 200_000_000)
    found = finished(tuning)
    assert tuning.place[found.pick] == 1
    assert found.gain is not None
    assert found.gain.ratio.high < 1


def test_too_few_queries_are_the_doubt_where_the_time_ends_before_there_are_enough() -> None:
    tuning = Bounded(lambda n, again: 20e6 * (1.5 if n else 1), 4)
    tuning.within(16.0)
    found = finished(tuning)
    assert (found.pick, found.over) == ("", False)
    assert found.nearest is not None
    assert found.nearest.cell_id == tuning.tune.default
    assert "too few queries" in found.nearest.doubt
    # All of the time went into the race, since there was nothing to confirm.
    assert tuning.budget.left_s < 3
    assert finished(tuning.resumed(100.0)).pick == tuning.tune.default


def test_a_bound_that_can_not_be_decided_ends_at_the_last_look() -> None:
    tuning = Bounded(lambda n, again: 20e6, 2)
    tuning.slow = dict.fromkeys(range(2), 0.02)
    tuning.objective = find_objective("throughput", 100_000_000)
    found = finished(tuning)
    assert found.pick == ""
    assert found.over
    assert len(tuning.generations) == LAST


# -- resumed --------------------------------------------------------------------------------------

#: Seconds in which four configurations that hardly differ can't be raced to the end; two of them
#: are confirmed in 24 s.
SHORT_S = 45.0


def short() -> Raced:
    tuning = Raced(lambda n, confirming: 0.9e6 - 0.012e6 * n if n else 1e6, 4)
    tuning.within(SHORT_S)
    return tuning


def cut_off(confirmed: int) -> Raced:
    """A tune whose race the time cut off, interrupted after so many processes of the confirmation's
    12."""
    whole, tuning = short(), short()
    whole._decide()
    assert whole.tune.found is not None
    assert not whole.tune.found.over
    (only,) = whole.tune.confirmations
    tuning.interrupted = only.first + confirmed
    with pytest.raises(KeyboardInterrupt):
        tuning._decide()
    assert [one.first for one in tuning.tune.confirmations] == [only.first]
    return tuning


def finished(tuning: Raced) -> Found:
    """What a tune finds when it is carried out."""
    tuning._decide()
    assert tuning.tune.found is not None
    return tuning.tune.found


def test_a_confirmation_that_was_interrupted_goes_on() -> None:
    tuning = cut_off(confirmed=3).resumed(SHORT_S)
    found = finished(tuning)
    both = sorted(tuning.place[name] for name in (found.pick, tuning.tune.default))
    assert tuning.generations
    assert all(names == both for names in tuning.generations)
    assert found.gain is not None
    assert found.gain.processes == 3 + len(tuning.generations)
    assert tuning.budget.left_s >= 0


@pytest.mark.parametrize("confirmed", [0, 3])
def test_a_race_that_the_time_cut_off_is_raced_on_where_there_is_more(confirmed: int) -> None:
    before = cut_off(confirmed)
    raced = before._costs().raced(before.tune)
    tuning = before.resumed(900.0)
    found = finished(tuning)
    assert found.over
    again = tuning._costs().raced(tuning.tune)
    assert all(again[name].items() >= values.items() for name, values in raced.items())
    assert sum(map(len, again.values())) > sum(map(len, raced.values()))
    assert found.gain is not None
    assert found.gain.processes == CONFIRMATIONS
    pick = tuning.place[found.pick]
    assert tuning.confirmations()[-1] == (pick, CONFIRMATIONS)


def test_what_was_measured_again_of_a_pick_that_is_still_the_pick_counts() -> None:
    before = Raced(lambda n, confirming: 0.5e6 + 5e3 * n if n else 1e6, 4)
    before.within(33.0)
    assert not finished(before).over
    (first,) = before.confirmations()
    assert 0 < first[1] < CONFIRMATIONS
    tuning = before.resumed(900.0)
    found = finished(tuning)
    assert found.over
    assert tuning.place[found.pick] == first[0] == 1
    assert tuning.confirmations() == [first, (1, CONFIRMATIONS - first[1])]
    assert found.gain is not None
    assert found.gain.processes == CONFIRMATIONS


def test_a_race_that_the_time_cut_off_stays_so_without_more() -> None:
    before = cut_off(confirmed=0)
    tuning = before.resumed(SHORT_S)
    assert not finished(tuning).over
    assert tuning._costs().raced(tuning.tune) == before._costs().raced(before.tune)
    assert tuning.budget.left_s >= 0


def test_what_a_process_takes_is_known_before_the_first_one_of_a_resumed_tune() -> None:
    before = cut_off(confirmed=3)
    tuning = before.resumed(before.tune.spent_s + 0.5)
    found = finished(tuning)
    assert tuning.generations == []
    assert found.gain is not None
    assert found.gain.processes == 3


def test_a_finished_tune_goes_on_where_there_is_more_time() -> None:
    before = short()
    assert not finished(before).over
    found = finished(before.resumed(900.0))
    assert found.over
    assert found.gain is not None
    assert found.gain.processes == CONFIRMATIONS


def test_what_is_measured_again_has_a_new_record_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = Raced(lambda n, again: {1: 0.5e6, 2: 0.505e6}.get(n, 2e6), 4)
    before.within(33.0)
    finished(before)
    tuning = before.resumed(900.0)
    tuning._recorded_before = set(tuning.states)
    for state in tuning.states.values():
        state.stop = None
    written: list[int] = []
    monkeypatch.setattr(tuning, "_profile_the_result", lambda: None)
    monkeypatch.setattr(tuning, "finish", lambda state: written.append(state.cell.threads - 1))
    tuning._decide()
    tuning._finish_all()
    measured = {place for names in tuning.generations for place in names}
    assert set(written) == measured == {0, 1}, "the confirmation alone was not at its end"


def test_a_tune_that_found_its_answer_measures_nothing_more() -> None:
    before = Raced(lambda n, confirming: 0.5e6 if n == 2 else 1e6, 4)
    found = finished(before)
    tuning = before.resumed(2e9)
    assert finished(tuning) == found
    assert tuning.generations == []


def left_out() -> Raced:
    """A tune that had no time for the best, which departs most from the default."""
    tuning = Raced(lambda n, again: {3: 0.8e6, 39: 0.4e6}.get(n, 1e6 + 1e4 * n), 40)
    tuning.within(120.0)
    assert tuning.place[finished(tuning).pick] == 3
    assert 39 in {tuning.place[name] for name in tuning.tune.not_tried}
    return tuning


def test_what_was_left_out_for_want_of_time_is_raced_where_there_is_more() -> None:
    """Side by side with the others, which are measured again: the machine is not as it was."""
    before = left_out()
    tuning = before.resumed(1200.0)
    found = finished(tuning)
    assert tuning.tune.not_tried == {}
    assert tuning.place[found.pick] == 39
    assert tuning.tune.raced_from == before._group.generation
    assert set(range(40)) == {place for names in tuning.generations for place in names}
    assert found.gain is not None
    assert found.gain.processes == CONFIRMATIONS


@pytest.mark.parametrize("more_s", [0.0, 5.0, 60.0])
def test_what_was_left_out_stays_so_where_the_time_is_not_for_more(more_s: float) -> None:
    """And what was found is not lost."""
    before = left_out()
    tuning = before.resumed(120.0 + more_s)
    found = finished(tuning)
    assert tuning.place[found.pick] == 3
    assert found.gain is not None
    assert tuning.tune.raced_from == 0
    assert tuning.tune.not_tried.keys() == before.tune.not_tried.keys()
    assert set(tuning.tune.not_tried.values()) == {f"no time in {120 + more_s:g} s"}


def test_what_was_found_stays_until_the_race_that_began_again_says_something() -> None:
    before = left_out()
    between = before.resumed(1200.0)
    between.interrupted = before._group.generation + 6
    with pytest.raises(KeyboardInterrupt):
        between._decide()
    assert between.tune.raced_from > 0
    tuning = between.resumed(between.tune.spent_s)
    assert finished(tuning) == before.tune.found
    assert tuning.place[finished(tuning.resumed(1200.0)).pick] == 39


def test_a_race_that_was_interrupted_is_not_begun_again_for_what_was_left_out() -> None:
    """There is no more time than there was, though it may go further than it seemed to."""
    whole = left_out()
    before = Raced(whole.truth, 40)
    before.within(120.0)
    before.interrupted = 20
    with pytest.raises(KeyboardInterrupt):
        before._decide()
    assert before.tune.not_tried
    tuning = before.resumed(120.0)
    tuning.pace.seconds /= 4
    finished(tuning)
    assert tuning.tune.raced_from == 0


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
    tuning.against(4)
    found = profiled(tuning, monkeypatch, 1)
    assert tuning.tune.found is not None
    assert [tuning.place[one.cell_id] for one in tuning.tune.found.best] == [2, 5]
    assert found == [2, 0, 4, 5]


class WrongByProfile(Raced):
    """One that only a profile tells to be something else."""

    def _throw_out_wrong(self, cell_id: str) -> bool:
        if cell_id in self._looked_into and cell_id in self.wrong:
            self._throw_out(cell_id, "it is WRONG (precision)")
        return cell_id in self.tune.thrown_out


@pytest.mark.parametrize(
    ("wrong", "pick", "confirmed"), [(2, 5, [5]), (5, 2, [2]), (0, 2, [2]), (1, 2, [2])]
)
def test_what_only_a_profile_tells_to_be_wrong_is_not_returned(
    wrong: int, pick: int, confirmed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pick is profiled before its confirmation, and what it is compared with."""
    tuning = WrongByProfile(lambda n, confirming: 0.5e6 + n if n in (2, 5) else 1e6, 8)
    tuning.against(4)
    tuning.wrong = {[*tuning.states][wrong]}
    found = profiled(tuning, monkeypatch, 1)
    assert tuning.tune.found is not None
    returned = [tuning.place[one.cell_id] for one in tuning.tune.found.best]
    assert returned == [one for one in (2, 5) if one != wrong]
    assert returned[0] == pick
    assert [place for place, _ in tuning.confirmations()] == confirmed
    assert len(set(found)) == len(found)
    assert set(tuning.tune.thrown_out) == (tuning.wrong if wrong in found else set())
    assert (tuning.tune.found.gain is None) == (wrong == 0)


def test_a_form_of_another_precision_than_was_asked_for_is_thrown_out_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is tuned changes nothing that is computed."""
    tuning = Raced(lambda n, again: 1e6, 4, forms={1: "fp16", 3: "fp16"})
    names = [*tuning.states]
    for state in tuning.states.values():
        state.planned = SimpleNamespace(cell=state.cell)
    check = SimpleNamespace(name="precision", ok=False, detail="it computes in fp32")
    record = SimpleNamespace(wrong=("precision",), checks=[check])
    monkeypatch.setattr(tuning, "_tried", lambda state: (None, record))
    assert Tuning._throw_out_wrong(tuning, names[3])
    assert tuning.tune.thrown_out.keys() == {names[1], names[3]}
    assert Tuning._throw_out_wrong(tuning, names[1])
    assert len(tuning.kept) == 1
    record.wrong, check.name = ("parity",), "parity"
    assert Tuning._throw_out_wrong(tuning, names[0])
    assert names[2] not in tuning.tune.thrown_out


def test_no_profile_is_taken_in_the_time_that_a_gain_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    gains = set()
    for tenths in range(180, 400, 5):
        tuning = Raced(lambda n, confirming: 0.5e6 if n == 2 else 1e6, 4)
        tuning.within(tenths / 10)
        with monkeypatch.context() as patched:
            found = profiled(tuning, patched, 1)
        assert tuning.tune.found is not None
        if tuning.tune.found.pick in ("", tuning.tune.default):
            continue
        gains.add(tuning.tune.found.gain is not None)
        assert tuning.tune.found.gain is not None or not tuning.confirmations() or not found
    assert True in gains


@pytest.mark.parametrize("seconds", [1.0, 4.0, 40.0])
def test_profiles_are_taken_within_the_time(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """They are the last thing that a tune does, and none begins that doesn't end in time; one that
    takes as long as a process has its time kept."""
    tuning = Raced(lambda n, confirming: 0.5e6 if n > 0 else 1e6, 30)
    tuning.within(150.0)
    found = profiled(tuning, monkeypatch, seconds)
    assert found[:2] == [1, 0][: len(found)]
    assert len(found) < 30
    over_s = max(0.0, -tuning.budget.left_s)
    assert over_s == 0 if seconds <= 1 else over_s < seconds
    if seconds <= 1:
        assert len(found) >= 2


def test_a_short_tuning_run_profiles_what_it_compares_and_still_confirms_its_pick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tuning = short()
    found = profiled(tuning, monkeypatch, 1)
    assert tuning.tune.found is not None
    assert tuning.tune.found.gain is not None
    assert 0 < tuning.tune.found.gain.processes < CONFIRMATIONS
    assert len(found) >= 2
    assert tuning.budget.left_s >= 0


# -- nobody is left -------------------------------------------------------------------------------


def test_a_result_is_not_kept_where_its_pick_can_not_be_returned_any_more() -> None:
    before = Raced(lambda n, again: 0.5e6 if n == 2 else 1e6, 4)
    before.within(40.0)
    found = finished(before)
    assert found.pick
    tuning = before.resumed(900.0)
    out = dict.fromkeys(tuning.states, "it is WRONG (parity)")
    tuning.tune = tuning.tune.model_copy(update={"thrown_out": out})
    now = finished(tuning)
    assert (now.processes, now.pick) == (0, "")


def test_a_result_is_kept_without_those_that_can_not_be_returned_any_more() -> None:
    truth = {2: 0.8e6, 3: 0.8e6, 39: 0.4e6}
    before = Raced(lambda n, again: truth.get(n, 1.5e6 + 1e4 * n), 40)
    before.within(120.0)
    found = finished(before)
    _, other = (one.cell_id for one in found.best)
    between = before.resumed(1200.0)
    between.interrupted = before._group.generation + 2
    with pytest.raises(KeyboardInterrupt):
        between._decide()
    between._throw_out(other, "it is WRONG (parity)")
    now = finished(between.resumed(between.tune.spent_s))
    assert now.pick == found.pick
    assert now.best == found.best[:-1]


@pytest.mark.parametrize(("total_s", "all_again"), [(1e9, True), (1, False)])
def test_who_failed_is_raced_again_with_all_others_where_that_is_asked_for(
    total_s: float, all_again: bool
) -> None:
    tuning = Raced(lambda n, again: (3e6, 2e6, 1e6)[n], 3)
    names = [*tuning.states]
    tuning.states[names[2]].failure = WorkerCrashed("it died of SIGSEGV.")
    tuning.tune = tuning.tune.model_copy(
        update={"thrown_out": {names[1]: "it is WRONG", names[2]: "it has no energy"}}
    )
    tuning._decide()
    assert tuning.tune.found is not None
    assert tuning.tune.found.pick == names[0]
    began, again = tuning._group.generation, tuning.resumed(tuning.tune.spent_s + total_s)
    again.states[names[2]].failure = None
    again.tune = again.tune.retrying([names[2], "not a configuration"])
    assert again.tune.thrown_out == {names[1]: "it is WRONG"}
    again._decide()
    assert again.tune.found is not None
    assert again.tune.found.pick == names[2 if all_again else 0]
    assert again.tune.not_tried == ({} if all_again else {names[2]: again._no_time})
    assert again.tune.raced_from == (began if all_again else 0)


def test_a_retry_that_there_was_no_time_for_does_not_race_all_again_without_it() -> None:
    """Only those that can be raced are a reason to begin again."""
    tuning = Raced(lambda n, again: (3e6, 2e6, 1e6)[n], 3)
    failed = [*tuning.states][2]
    tuning.states[failed].failure = WorkerCrashed("it died of SIGSEGV.")
    found = finished(tuning)
    late = tuning.resumed(tuning.tune.spent_s + 1)
    late.states[failed].failure = None
    late.tune = late.tune.retrying([failed])
    assert finished(late).pick == found.pick
    assert late.tune.not_tried == {failed: late._no_time}
    again = late.resumed(1e9)
    del again.states[failed]  # it has a record, and nobody asks for another retry
    assert finished(again) == found
    assert again.tune.raced_from == 0
    assert again.tune.not_tried == {}


def test_a_retry_is_refused_where_the_time_is_spent() -> None:
    tuning = Raced(lambda n, again: 1e6, 2)
    tuning._decide()
    spent = tuning.resumed(tuning.tune.spent_s).tune
    with pytest.raises(SpecError, match=r"--retry-failed: the .* s of this tuning run are spent"):
        spent.retrying([spent.default])
    assert tuning.resumed(tuning.tune.spent_s + 1).tune.retrying([spent.default]).not_tried


def test_a_full_disk_is_answered_with_the_command_that_resumes_the_tune(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path, a_header([]))
    tune = Raced(lambda n, again: 1e6, 2).tune
    prepared = Prepared(Plan(Suite(), ()), None, {}, [], Account())  # type: ignore[arg-type]
    listener: Any = None
    run = OpenRun(prepared, store, None, listener, Outcome(store.path, Account(), []))
    tuning = Tuning(
        run, tune=tune, objective=find_objective("latency", None), tunables={}, original=None
    )
    (store.path / f"{TUNE}.partial").mkdir()
    with pytest.raises(BenchError, match=f"then resume with `bench tune --resume {store.path}`."):
        tuning._keep()
