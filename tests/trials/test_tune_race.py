"""The race of `bench tune` on a made-up machine: fair, within its time, none lost to luck."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from made_up_field import MadeUp

from bench.stats.racing import RacingRule
from bench.trials.tune.race import FIRST, LAST, TOGETHER, Budget, Pace, confirm, race

MARGIN = 0.02


def rule_for(field: MadeUp) -> RacingRule:
    return RacingRule(len(field.truth) - len(field.left_out), 0.95, MARGIN, FIRST, LAST)


def raced(field: MadeUp, total_s: float = 1e9, reserve: int = 0):  # type: ignore[no-untyped-def]
    pace = Pace(Budget(total_s, clock=field.clock))
    rng = np.random.default_rng(7)
    return race(lambda: rule_for(field), field, pace, rng, {"0"}, reserve)


def spread_out(count: int, best: int, seed: int) -> MadeUp:
    """Costs 10 to 170% above the best one's."""
    rng = np.random.default_rng(seed)
    truth = {str(i): float(np.exp(rng.uniform(0.1, 1))) for i in range(count)}
    return MadeUp({**truth, str(best): 1.0}, rng)


def test_a_clear_winner_is_found_in_a_fraction_of_a_full_grid() -> None:
    field = spread_out(40, best=23, seed=1)
    standing = raced(field)
    assert standing.pick == standing.leader == "23"
    assert standing.left == ("23",)
    assert field.processes < 40 * LAST / 4


def test_few_are_measured_at_a_time_and_in_random_order() -> None:
    field = spread_out(40, best=23, seed=2)
    raced(field)
    assert max(map(len, field.generations)) == TOGETHER
    assert all(len(set(names)) == len(names) for names in field.generations)
    assert field.generations[0] == [str(i) for i in range(TOGETHER)]
    second_round = field.generations[5:10]
    assert sorted(itertools.chain.from_iterable(second_round), key=int) == list(map(str, range(40)))
    assert second_round[0] != field.generations[0]


def test_one_that_fails_costs_itself_alone() -> None:
    field = spread_out(20, best=11, seed=3)
    field.fails = {"5": 1, "7": 2, "11": 3}
    standing = raced(field)
    assert {"5", "7", "11"} <= field.gone
    assert not {"5", "7", "11"} & set(standing.left)
    remaining = {n: c for n, c in field.truth.items() if n not in field.gone}
    assert field.truth[standing.pick] <= min(remaining.values()) * (1 + MARGIN)


def test_who_fell_against_one_that_failed_later_comes_back() -> None:
    rng = np.random.default_rng(0)
    spread = {"0": 0.0002, "1": 0.0002, "2": 0.0002, "3": 0.03}
    field = MadeUp({"0": 2.0, "1": 1.035, "2": 1.0, "3": 1.0}, rng, spread, block=0.0002)
    field.fails = {"2": 4}
    for _ in range(3):
        field.measure(list(field.truth))
    assert rule_for(field).standing(field.costs()).out["1"].against == "2"
    standing = raced(field)
    assert "1" in standing.left
    assert {out.against for out in standing.out.values()} <= {"1", "3"}


def test_all_that_fail_leave_nobody() -> None:
    field = spread_out(4, best=2, seed=5)
    field.fails = dict.fromkeys(field.truth, 1)
    standing = raced(field)
    assert (standing.look, standing.left) == (0, ())
    assert field.processes == 4


def test_the_time_is_kept_and_some_of_it_is_left_for_the_confirmation() -> None:
    field = spread_out(40, best=23, seed=6)
    standing = raced(field, total_s=40.0, reserve=24)
    assert field.clock.now + 24 * field.seconds <= 40.0
    assert standing.look >= FIRST


def test_what_there_is_no_time_for_is_left_out_beginning_with_the_least_simple() -> None:
    field = spread_out(40, best=3, seed=8)
    standing = raced(field, total_s=25.0, reserve=24)
    kept = len(field.truth) - len(field.left_out)
    assert TOGETHER <= kept < 40
    assert sorted(field.left_out, key=int) == [str(i) for i in range(kept, 40)]
    assert standing.pick == "3"
    assert all(len(field.measured[str(i)]) >= FIRST for i in range(kept))


class StartsSlowly(MadeUp):
    """One whose first round takes so much longer: it loads and compiles."""

    start_s = 20.0

    def measure(self, names: Sequence[str]) -> None:
        self.clock.now += 0 if self.generations else self.start_s
        super().measure(names)


@pytest.mark.parametrize("total_s", [60.0, 120.0])
def test_a_slow_start_does_not_keep_others_from_being_tried(total_s: float) -> None:
    rng = np.random.default_rng(19)
    truth = {str(i): float(np.exp(rng.uniform(0.1, 1))) for i in range(77)}
    slow, even = StartsSlowly({**truth, "11": 1.0}, rng), MadeUp({**truth, "11": 1.0}, rng)
    assert raced(slow, total_s, reserve=24).pick == "11"
    raced(even, total_s - StartsSlowly.start_s, reserve=24)
    kept = [len(truth) - len(field.left_out) for field in (slow, even)]
    assert kept[0] >= 0.8 * kept[1] > TOGETHER
    assert slow.clock.now <= total_s


def test_a_pace_that_stays_slow_is_judged_by_all_rounds() -> None:
    field = spread_out(40, best=3, seed=20)
    field.seconds = 3.0
    pace = Pace(Budget(120.0, clock=field.clock))
    race(lambda: rule_for(field), field, pace, np.random.default_rng(7), {"0"}, 24)
    assert pace.turns == field.processes
    assert field.clock.now <= 120.0


def test_little_time_is_spent_on_few_rather_than_on_a_confirmation_of_nothing() -> None:
    """24 processes of the confirmation alone would be more than there is."""
    field = spread_out(40, best=1, seed=16)
    standing = raced(field, total_s=5.0, reserve=24)
    assert standing.look >= FIRST
    assert standing.pick == "1"
    assert set(field.left_out) >= {str(i) for i in range(TOGETHER, 40)}
    assert field.clock.now < 5.0


@pytest.mark.parametrize("measured", [0, 5])
def test_nothing_is_measured_where_the_time_is_up(measured: int) -> None:
    field = spread_out(40, best=3, seed=9)
    pace = Pace(Budget(10, 9.9 if measured else 10, clock=field.clock), 0, 0, measured, measured)
    race(lambda: rule_for(field), field, pace, np.random.default_rng(7), {"0"}, 24)
    assert field.processes == 0


def test_no_time_at_all_still_ends_and_says_nothing() -> None:
    field = spread_out(40, best=3, seed=9)
    standing = raced(field, total_s=0.1)
    assert standing.look == 0
    assert field.processes == TOGETHER


def test_a_race_that_is_interrupted_goes_on_where_it_was() -> None:
    field = spread_out(20, best=9, seed=10)
    field.interrupted = (2, 5, 9)
    for _ in field.interrupted:
        with pytest.raises(KeyboardInterrupt):
            raced(field)
    standing = raced(field)
    assert standing.pick == "9"
    counts = [len(values) for values in field.measured.values()]
    assert min(counts) == FIRST
    assert sum(counts) < 20 * LAST / 3


def test_the_default_races_to_the_end_though_others_look_better() -> None:
    rng = np.random.default_rng(11)
    field = MadeUp({"0": 1.03, **{str(i): 1.0 + i / 1000 for i in range(1, 30)}}, rng)
    standing = raced(field)
    assert "0" in standing.racing or "0" in standing.out


def test_the_simplest_of_equals_is_picked() -> None:
    rng = np.random.default_rng(12)
    field = MadeUp(dict.fromkeys(map(str, range(12)), 1.0), rng, spread=0.003, block=0.003)
    standing = raced(field)
    assert standing.pick == "0"
    assert standing.sure


def test_nobody_falls_against_one_that_may_not_be_had() -> None:
    rng = np.random.default_rng(13)
    field = MadeUp({"0": 1.5, "1": 1.0, "2": 1.6}, rng, doubted=frozenset({"1"}))
    standing = raced(field)
    assert all(out.against != "1" for out in standing.out.values())
    assert "0" in standing.left


@pytest.mark.parametrize("count", [2, 12])
def test_the_confirmation_measures_so_many_of_each_side_by_side(count: int) -> None:
    field = spread_out(6, best=2, seed=14)
    pace = Pace(Budget(1e9, clock=field.clock))
    confirm(field, lambda: ["2", "0"], lambda names: len(field.measured["2"]), pace, count)
    assert field.generations == [["2", "0"]] * count


def test_a_confirmation_takes_the_time_that_there_is() -> None:
    for total_s, rounds in ((60, 12), (1.2, 2), (0.8, 1)):
        field = spread_out(6, best=2, seed=14)
        pace = Pace(Budget(total_s, clock=field.clock), 0, 0, 1.0, 5)
        confirm(field, lambda: ["2", "0"], counted(field), pace, 12)
        assert len(field.generations) == rounds


def counted(field: MadeUp) -> Callable[[Sequence[str]], int]:
    return lambda names: min(len(field.measured[name]) for name in names)


def working(field: MadeUp, *names: str) -> Callable[[], list[str]]:
    return lambda: [name for name in names if name not in field.gone]


def test_one_that_fails_in_a_confirmation_costs_the_others_nothing() -> None:
    field = spread_out(6, best=2, seed=15)
    field.fails = {"3": 3}
    pace = Pace(Budget(1e9, clock=field.clock))
    confirm(field, working(field, "2", "0", "3"), counted(field), pace, 12)
    assert field.generations == [["2", "0", "3"]] * 3 + [["2", "0"]] * 9


def test_a_confirmation_ends_where_there_is_nothing_left_to_compare() -> None:
    field = spread_out(6, best=2, seed=15)
    field.fails = {"0": 3}
    pace = Pace(Budget(1e9, clock=field.clock))
    confirm(field, working(field, "2", "0"), counted(field), pace, 12)
    assert len(field.generations) == 3


def test_a_race_goes_on_while_all_are_in_doubt_up_to_the_last_look() -> None:
    rng = np.random.default_rng(17)
    field = MadeUp({"0": 1.0, "1": 2.0}, rng, doubted=frozenset({"0", "1"}))
    standing = raced(field)
    assert len(field.measured["0"]) == LAST
    assert (standing.look, standing.left) == (LAST, ("0", "1")), "nobody is out against one of them"
    field.doubted = frozenset({"1"})
    now = rule_for(field).standing(field.costs(), (), field.doubted)
    assert (now.look, now.left) == (FIRST, ("0",))


def test_nothing_is_kept_for_a_confirmation_while_all_are_in_doubt() -> None:
    rng = np.random.default_rng(18)
    field = MadeUp({"0": 1.0, "1": 2.0}, rng, doubted=frozenset({"0", "1"}))
    raced(field, total_s=4.0, reserve=24)
    assert field.clock.now > 4.0 - 3 * field.seconds
