"""Looking again and again: all looks hold together at the stated confidence."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtri

from bench.stats.interval import ratio_interval
from bench.stats.multiple import simultaneous_confidence
from bench.stats.spending import geometric_looks, repeated_confidence


# Pocock 1977, table 1 (alpha = 0.05, two-sided): the constant by the number of equal looks.
@pytest.mark.parametrize(
    ("looks", "constant"), [(2, 2.178), (3, 2.289), (4, 2.361), (5, 2.413), (7, 2.485), (10, 2.555)]
)
def test_with_many_invocations_the_boundary_is_pococks(looks, constant):
    confidence = repeated_confidence([2000 * (i + 1) for i in range(looks)])
    assert ndtri(0.5 + confidence / 2) == pytest.approx(constant, abs=0.012)


def histories(schedule, number=3000):
    return np.exp(np.random.default_rng(9).normal(0, 0.05, (number, schedule[-1])))


def all_looks_cover(history, schedule, confidence):
    return all(ratio_interval(np.ones(n), history[:n], confidence).contains(1.0) for n in schedule)


def test_stopping_whenever_one_likes_keeps_the_stated_coverage():
    schedule = geometric_looks(5, 40)
    corrected = repeated_confidence(schedule)
    covered = np.mean([all_looks_cover(h, schedule, corrected) for h in histories(schedule)])
    assert 0.938 <= covered <= 0.962  # 3 standard errors


@pytest.mark.parametrize(
    "schedule", [[2, 3], [3, 4, 6, 8], [2, 10, 11], [5, 7, 10, 14, 20, 28, 40]]
)
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_all_looks_at_simulated_values_hold_together_as_often_as_stated(schedule, confidence):
    """The values themselves are drawn here, not only their sums."""
    number = 60_000
    values = np.random.default_rng(10).normal(size=(number, schedule[-1]))
    each = repeated_confidence(schedule, confidence)
    held = np.ones(number, dtype=bool)
    for n in schedule:
        seen = values[:, :n]
        t = seen.mean(axis=1) / (seen.std(axis=1, ddof=1) / np.sqrt(n))
        held &= np.abs(t) <= stats.t.ppf(0.5 + each / 2, n - 1)
    deviation = np.sqrt(confidence * (1 - confidence) * (1 / number + 1 / 120_000))
    assert held.mean() == pytest.approx(confidence, abs=3.5 * deviation)


def test_seven_looks_from_5_to_40_are_at_98_9_percent_each():
    assert repeated_confidence(geometric_looks(5, 40)) == pytest.approx(0.989, abs=5e-4)


def test_without_a_correction_it_would_not():
    schedule = geometric_looks(5, 40)
    covered = np.mean([all_looks_cover(h, schedule, 0.95) for h in histories(schedule, 1000)])
    assert covered < 0.88


def test_the_computed_correction_lies_between_none_and_bonferroni():
    for schedule in ([3, 4, 5, 6], [5, 10], geometric_looks(5, 80)):
        bonferroni = simultaneous_confidence(len(schedule), 0.9)
        assert 0.9 < repeated_confidence(schedule, 0.9) <= bonferroni
    assert repeated_confidence([7], 0.9) == 0.9


def test_the_same_plan_gets_the_same_confidence():
    assert repeated_confidence([5, 7, 10]) == repeated_confidence(np.array([5, 7, 10]))


def test_looks_are_spaced_geometrically():
    assert geometric_looks(5, 40) == [5, 7, 10, 14, 20, 28, 40]
    assert geometric_looks(5, 45)[-2:] == [40, 45]
    assert geometric_looks(5, 5) == [5]
    assert geometric_looks(2, 6, 1.01) == [2, 3, 4, 5, 6]


def test_a_look_that_rounding_would_miss_is_planned():
    """log(125) / log(5) and the like may come out a little below the whole number."""
    assert geometric_looks(5, 125, 5) == [5, 25, 125]
    assert geometric_looks(2, 3) == [2, 3]


@pytest.mark.parametrize(("first", "last", "growth"), [(1, 5, 2), (5, 4, 2), (5, 9, 1.0)])
def test_looks_that_cannot_be_planned_are_refused(first, last, growth):
    with pytest.raises(ValueError, match="no looks"):
        geometric_looks(first, last, growth)


@pytest.mark.parametrize("schedule", [[], [1, 2], [5, 5], [7, 5]])
def test_looks_at_no_new_data_are_refused(schedule):
    with pytest.raises(ValueError, match="rising numbers"):
        repeated_confidence(schedule)


def test_confidence_is_a_share():
    for looks in ([5], [5, 7]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            repeated_confidence(looks, 1.0)
