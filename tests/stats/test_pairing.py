"""Ratios of processes that were measured in turn, from their rounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.interval import ratio_interval, unpaired_ratio_interval
from bench.stats.nested.pairing import (
    ENOUGH_PAIRS,
    FEWEST_COMMON,
    Turns,
    difference,
    log_ratio,
    midmean,
    pseudo_values,
    ratios,
    shared,
)

LOGS = st.lists(st.floats(-20, 20), min_size=1, max_size=40).map(np.array)
TIMES = st.floats(1.0, 1e12)
ROUNDS = st.dictionaries(st.integers(0, 20), TIMES, max_size=12)


def turns(rounds: list[float], alone: float = 1.0) -> Turns:
    return Turns(alone, dict(enumerate(rounds)))


def test_the_midmean_is_the_mean_of_the_middle_half() -> None:
    assert midmean(np.array([9.0, 1.0, 2.0, 100.0, 3.0, -50.0, 4.0, 5.0])) == 3.5
    assert midmean(np.array([1.0, 2.0, 6.0])) == 3.0  # too few to leave any out


@given(LOGS)
def test_pseudo_values_have_the_midmean_as_their_mean(values: np.ndarray) -> None:
    assert pseudo_values(values).mean() == pytest.approx(midmean(values), abs=1e-9)


def test_the_variance_of_pseudo_values_is_that_of_the_midmean() -> None:
    """Of normal values, and of values of which one in fifty was hit hard."""
    rng = np.random.default_rng(3)
    for hit in (0.0, 0.02):
        values = rng.normal(0, 1, (20_000, 16)) + 20 * (rng.random((20_000, 16)) < hit)
        stated = np.mean([pseudo_values(one).var(ddof=1) / 16 for one in values])
        true = np.var([midmean(one) for one in values])
        assert stated == pytest.approx(true, rel=0.15)


def test_rounds_in_which_one_side_was_hit_are_left_out() -> None:
    a, b = [100.0] * 8, [150.0] * 8
    a[2], b[5] = 3000.0, 900.0
    assert math.exp(log_ratio(turns(a), turns(b))) == pytest.approx(1.5)


def test_only_rounds_that_both_have_are_compared() -> None:
    """The machine became twice as slow while one of the two was measured alone."""
    a = Turns(1.0, dict.fromkeys(range(8), 100.0))
    b = Turns(1.0, {**dict.fromkeys(range(0, 8, 2), 120.0), **dict.fromkeys(range(8, 16), 240.0)})
    assert math.exp(log_ratio(a, b)) == pytest.approx(1.2)


@given(st.integers(0, FEWEST_COMMON - 1), TIMES, TIMES)
def test_with_too_few_rounds_each_process_speaks_for_itself(
    count: int, one: float, other: float
) -> None:
    a, b = turns([5.0] * count, one), turns([7.0] * count, other)
    assert log_ratio(a, b) == pytest.approx(math.log(other / one), abs=1e-12)


@given(ROUNDS, ROUNDS, TIMES, TIMES)
def test_the_other_way_round_is_the_inverse(
    mine: dict[int, float], theirs: dict[int, float], one: float, other: float
) -> None:
    a, b = Turns(one, mine), Turns(other, theirs)
    assert log_ratio(a, b) == pytest.approx(-log_ratio(b, a), abs=1e-9)


def test_a_pair_has_a_ratio_in_each_generation_that_both_took_part_in() -> None:
    a, b = Turns(2.0), Turns(3.0)
    assert ratios({3: a, 4: a}, {3: b, 5: b}) == {3: pytest.approx(1.5)}


@given(st.dictionaries(st.integers(0, 20), st.floats(-9, 9), min_size=1, max_size=12))
def test_without_a_round_in_common_means_are_compared(rounds: dict[int, float]) -> None:
    later = {number + 100: value + 1 for number, value in rounds.items()}
    assert difference(later, rounds) == pytest.approx(1, abs=1e-9)


def test_beside_a_busy_neighbour_the_interval_is_narrower_and_right_as_often() -> None:
    """The neighbour takes each block of either side in a tenth of the cases, and both sides of a
    round in a fifth. The processes themselves differ by 0.3%."""
    rng = np.random.default_rng(11)
    truth, covered, widths, plain = 1.02, [], [], []
    for _ in range(600):
        both = rng.normal(0, 0.003, (2, 5))[..., np.newaxis] + rng.normal(0, 0.01, (2, 5, 8))
        both += np.where(rng.random((2, 5, 8)) < 0.1, rng.exponential(0.3, (2, 5, 8)), 0)
        both += np.where(rng.random((5, 8)) < 0.2, 0.5, 0)
        both[1] += math.log(truth)
        made = [
            {i: turns(list(np.exp(one)), math.exp(one.mean())) for i, one in enumerate(side)}
            for side in both
        ]
        found = ratio_interval(np.ones(5), list(ratios(*made).values()))
        covered.append(found.contains(truth))
        widths.append(found.relative_half_width)
        means = [[one.alone for one in side.values()] for side in made]
        plain.append(ratio_interval(*means).relative_half_width)
    assert 0.93 <= np.mean(covered) <= 0.975
    assert np.median(widths) < 0.5 * np.median(plain)


# -- how many pairs are enough --------------------------------------------------------------------


def test_what_two_share_is_what_they_are_compared_by_where_it_is_enough() -> None:
    many = range(3, 15)
    assert shared(many, range(8)) == [3, 4, 5, 6, 7]
    assert shared(many, range(7)) == [], "four of twelve and of seven"
    assert shared(many, range(3, 6)) == [3, 4, 5], "one of the two has no more"
    assert shared(many, [14, 3]) == [3, 14]
    assert shared(many, [14]) == shared(many, []) == [], "one is no interval"


#: Of the logarithm of a process's figure: what both of a generation share, and what is its own.
COMMON, OWN = 0.03, 0.02


def parted(rng: np.random.Generator, count: int, together: int) -> tuple[np.ndarray, np.ndarray]:
    """Processes of two equals, of which so many were measured in turn and the others apart."""
    one, other = rng.normal(0, COMMON, (2, count))
    other[:together] = one[:together]
    return tuple(np.exp(each + rng.normal(0, OWN, count)) for each in (one, other))  # type: ignore[return-value]


def compared(one: np.ndarray, other: np.ndarray, together: int) -> tuple[bool, float]:
    """Whether the interval holds, and how far it reaches, with so many in common."""
    apart = range(len(one), 2 * len(one) - together)
    common = shared(range(len(one)), [*range(together), *apart])
    found = (
        ratio_interval(one[common], other[common])
        if common
        else unpaired_ratio_interval(one, other)
    )
    return found.low <= 1 <= found.high, found.high / found.low


@pytest.mark.parametrize("together", [0, 2, 4, ENOUGH_PAIRS, 8])
def test_an_interval_holds_however_many_processes_were_measured_in_turn(together: int) -> None:
    rng = np.random.default_rng(together)
    held = [compared(*parted(rng, 12, together), together)[0] for _ in range(2000)]
    assert np.mean(held) >= 0.95 - 3 * (0.95 * 0.05 / 2000) ** 0.5


@pytest.mark.parametrize("together", [2, 3, 4])
def test_few_pairs_of_many_processes_say_less_than_all_of_them(together: int) -> None:
    rng = np.random.default_rng(together)
    drawn = [parted(rng, 12, together) for _ in range(300)]
    reach = np.median([compared(*each, together)[1] for each in drawn])
    pairs = [ratio_interval(one[:together], other[:together]) for one, other in drawn]
    assert np.log(np.median([p.high / p.low for p in pairs])) > 1.3 * np.log(reach)
