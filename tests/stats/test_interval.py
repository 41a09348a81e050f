"""Intervals over invocations: agreement with scipy.stats, symmetries, coverage of nested noise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.record.result import Estimate
from bench.stats.interval import (
    Interval,
    ratio_interval,
    trimmed_mean_interval,
    unpaired_ratio_interval,
)

latencies = st.floats(1.0, 1e9)
pairs = st.lists(st.tuples(latencies, latencies), min_size=2, max_size=30)


def hierarchical_medians(
    generator: np.random.Generator, histories: int, invocations: int, samples: int = 200
) -> np.ndarray:
    """Medians per invocation, shape (histories, invocations), of latencies with a true median of 1.

    Processes differ by 4%; within one the logarithms are an AR(1) of sd 5% and memory 0.9.
    """
    between = generator.normal(0, 0.04, (histories, invocations, 1))
    noise = generator.normal(0, 0.05 * math.sqrt(1 - 0.9**2), (histories, invocations, samples))
    within = np.empty_like(noise)
    within[..., 0] = generator.normal(0, 0.05, noise.shape[:2])
    for i in range(1, samples):
        within[..., i] = 0.9 * within[..., i - 1] + noise[..., i]
    return np.median(np.exp(between + within), axis=2)


def untrimmed(values: np.ndarray, confidence: float = 0.95) -> Interval:
    """Student's t-interval on the logarithms of all values: their ratio to 1."""
    return ratio_interval(np.ones(len(values)), values, confidence)


def test_the_interval_over_invocations_covers_as_often_as_it_says():
    medians = hierarchical_medians(np.random.default_rng(1), 1500, 6)
    covered = np.mean([untrimmed(row).contains(1.0) for row in medians])
    assert 0.935 <= covered <= 0.965  # 2.7 standard errors around 95%


@pytest.mark.parametrize("size", [5, 8, 12, 30])
def test_a_trimmed_mean_and_its_error_are_scipys(size):
    values = np.exp(np.random.default_rng(size).standard_t(2, size) * 0.05)
    found = trimmed_mean_interval(values, 0.9)
    logs = np.log(values)
    cut = int(0.2 * size)
    assert math.log(found.estimate) == pytest.approx(stats.trim_mean(logs, 0.2))
    error = stats.mstats.trimmed_stde(logs, limits=(0.2, 0.2), inclusive=(True, True))
    # scipy divides by (1 - 2 x the asked share) sqrt(n), Yuen by what was really kept.
    error *= (1 - 0.4) * math.sqrt(size)
    error *= math.sqrt((size - 1) / ((size - 2 * cut) * (size - 2 * cut - 1)))
    reach = stats.t.ppf(0.95, size - 2 * cut - 1) * error
    assert math.log(found.high) == pytest.approx(math.log(found.estimate) + reach)


def test_one_slow_process_in_six_hardly_moves_the_typical_one():
    values = [1.0, 1.01, 0.99, 1.0, 1.005, 1.9]
    assert trimmed_mean_interval(values).estimate < 1.01 < untrimmed(values).estimate
    assert trimmed_mean_interval(values).high < 1.03


def test_trimmed_intervals_cover_the_centre_where_one_process_in_eight_is_slow():
    generator = np.random.default_rng(11)
    logs = generator.normal(0, 0.01, (1000, 10))
    slow = generator.random((1000, 10)) < 1 / 8
    rows = np.exp(logs + slow * generator.exponential(0.3, (1000, 10)))
    widths = [trimmed_mean_interval(row).relative_half_width for row in rows]
    plain = [untrimmed(row).relative_half_width for row in rows]
    assert np.median(widths) < np.median(plain) / 2
    covered = np.mean([trimmed_mean_interval(row).contains(1.0) for row in rows])
    assert covered > 0.9


def test_the_samples_of_one_process_as_if_independent_would_cover_rarely():
    generator = np.random.default_rng(2)
    logs = generator.normal(0, 0.04, (1000, 1)) + generator.normal(0, 0.05, (1000, 200))
    covered = np.mean([untrimmed(np.exp(row)).contains(1.0) for row in logs])
    assert covered < 0.25


def test_two_equal_programs_differ_in_one_of_twenty_comparisons():
    generator = np.random.default_rng(3)
    a, b = (hierarchical_medians(generator, 1000, 5) for _ in range(2))
    alarms = np.mean([not ratio_interval(x, y).contains(1.0) for x, y in zip(a, b, strict=True)])
    assert alarms <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / 1000)


def test_pairing_removes_what_both_saw():
    generator = np.random.default_rng(4)
    machine = np.exp(generator.normal(0, 0.5, 8))
    a = machine * np.exp(generator.normal(0, 0.01, 8))
    b = machine * 1.06 * np.exp(generator.normal(0, 0.01, 8))
    paired, unpaired = ratio_interval(a, b), unpaired_ratio_interval(a, b)
    assert paired.low > 1.03
    assert unpaired.contains(1.0)


def test_the_paired_interval_is_that_of_scipy():
    a, b = np.random.default_rng(5).lognormal(3, 0.2, (2, 9))
    reference = stats.ttest_rel(np.log(b), np.log(a))
    expected = np.exp(reference.confidence_interval(0.9))
    ours = ratio_interval(a, b, 0.9)
    np.testing.assert_allclose([ours.low, ours.high], expected, rtol=1e-12)


def test_the_unpaired_interval_is_welchs():
    generator = np.random.default_rng(6)
    a, b = generator.lognormal(3, 0.4, 12), generator.lognormal(3.1, 0.05, 5)
    reference = stats.ttest_ind(np.log(b), np.log(a), equal_var=False)
    expected = np.exp(reference.confidence_interval(0.95))
    ours = unpaired_ratio_interval(a, b)
    np.testing.assert_allclose([ours.low, ours.high], expected, rtol=1e-12)


def test_welchs_interval_of_values_that_do_not_differ_has_no_width():
    found = unpaired_ratio_interval([2.0, 2.0], [3.0, 3.0, 3.0])
    assert (found.low, found.high) == pytest.approx((1.5, 1.5), rel=1e-12)
    one_side = unpaired_ratio_interval([2.0, 2.0], [3.0, 3.3, 3.6])
    alone = untrimmed(np.array([3.0, 3.3, 3.6]))
    assert (one_side.low, one_side.high) == pytest.approx((alone.low / 2, alone.high / 2))


def test_variances_near_the_smallest_float_still_give_an_interval():
    a, b = [1.0, 1.0 + 1e-15], [1.0, 1.0 + 1e-15, 1.0]
    found = unpaired_ratio_interval(a, b)
    assert found.low < found.high
    assert found.relative_half_width < 1e-13


@pytest.mark.parametrize("size", [2, 3, 4])
def test_of_fewer_than_five_values_none_is_left_out(size):
    values = np.random.default_rng(size).lognormal(3, 0.4, size)
    found, plain = trimmed_mean_interval(values, 0.9), untrimmed(values, 0.9)
    assert (found.low, found.estimate, found.high) == pytest.approx(
        (plain.low, plain.estimate, plain.high)
    )
    assert found.confidence == 0.9


@given(pairs, st.floats(0.5, 0.999))
def test_a_ratio_and_its_inverse_are_mirror_images(values, confidence):
    a, b = map(list, zip(*values, strict=True))
    there, back = ratio_interval(a, b, confidence), ratio_interval(b, a, confidence)
    assert there.low <= there.estimate <= there.high
    assert there.estimate == pytest.approx(1 / back.estimate, rel=1e-9)
    if math.isfinite(there.high) and there.low > 0:
        assert there.inverse().high == pytest.approx(back.high, rel=1e-6)


@given(st.lists(latencies, min_size=2, max_size=30), st.floats(1e-3, 1e3))
def test_the_unit_does_not_matter(values, unit):
    plain = trimmed_mean_interval(values)
    scaled = trimmed_mean_interval([v * unit for v in values])
    assert scaled.estimate == pytest.approx(plain.estimate * unit, rel=1e-9)


def test_equal_values_give_an_interval_of_no_width():
    interval = trimmed_mean_interval([3.0, 3.0, 3.0])
    assert interval.low == pytest.approx(3.0)
    assert interval.relative_half_width == pytest.approx(0.0)


@pytest.mark.parametrize("count", [2, 3, 6, 7, 11])
def test_of_equal_values_rounding_makes_no_spread(count):
    for value in np.random.default_rng(9).lognormal(10, 3, 200):
        found = trimmed_mean_interval([value] * count)
        assert found.low == found.estimate == found.high


def test_values_of_which_the_lowest_are_equal_have_a_spread():
    assert trimmed_mean_interval([1.0, 1.0, 1.0, 2.0, 3.0]).low < 1.1
    found, plain = trimmed_mean_interval([1.0, 1.0, 2.0]), untrimmed(np.array([1.0, 1.0, 2.0]))
    assert found.high == pytest.approx(plain.high)


def test_two_invocations_far_apart_say_that_they_know_nothing():
    interval = trimmed_mean_interval([1e-150, 1e150], 0.999)
    assert interval.low == 0
    assert interval.high == math.inf


@pytest.mark.parametrize(
    "values", [[], [1.0], [1.0, 0.0], [1.0, -2.0], [1.0, math.nan], [1.0, math.inf], [[1.0, 2.0]]]
)
def test_values_that_are_no_latencies_are_refused(values):
    with pytest.raises(ValueError, match=r"invocations|positive"):
        trimmed_mean_interval(values)


def test_a_pair_needs_both_halves():
    with pytest.raises(ValueError, match=r"as many invocations of a \(2\) as of b \(3\)"):
        ratio_interval([1.0, 2.0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_is_a_share(confidence):
    with pytest.raises(ValueError, match="between 0 and 1"):
        trimmed_mean_interval([1.0, 2.0], confidence)


def test_what_an_interval_says_of_itself():
    interval = Interval(100.0, 98.0, 103.0, 0.95)
    assert interval.relative_half_width == pytest.approx(0.03)
    assert Interval(-100.0, -102.0, -97.0, 0.95).relative_half_width == pytest.approx(0.03)
    assert Interval(100.0, 96.0, 103.0, 0.95).relative_half_width == pytest.approx(0.04)
    assert Interval(0.0, -1.0, 1.0, 0.95).relative_half_width == math.inf
    assert [interval.half_width, Interval(100.0, 96.0, 103.0, 0.95).half_width] == [3.0, 4.0]
    stored = Estimate(value=100.0, low=96.0, high=103.0, confidence=0.95)
    assert stored.half_width == 4.0
    assert [interval.contains(x) for x in (97.9, 98.0, 103.0, 103.1)] == [False, True, True, False]
    inverse = Interval(2.0, 1.0, 4.0, 0.9).inverse()
    assert inverse == Interval(0.5, 0.25, 1.0, 0.9)
    whole = Interval(0.5, 0.0, math.inf, 0.95).inverse()
    assert whole == Interval(2.0, 0.0, math.inf, 0.95)
    with pytest.raises(ValueError, match="positive"):
        Interval(0.0, -1.0, 1.0, 0.95).inverse()
