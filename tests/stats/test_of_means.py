"""Bootstrap intervals of functions of means, against a bootstrap written out example by example."""

import numpy as np
import pytest
from scipy.stats import norm

from bench.stats import of_means
from bench.stats.of_means import OfMeans, intervals, mean_of, two_sided_p

VALUES = np.random.default_rng(1).exponential(size=30)
RATIO = OfMeans(
    np.random.default_rng(2).random((30, 2)) + 0.5, lambda means: means[..., 0] / means[..., 1]
)


def replicas(statistic, seed, resamples):
    """The statistic of examples drawn again and again, one resample after the other."""
    n = len(statistic.features)
    drawn = np.random.default_rng(seed).integers(0, n, (resamples, n))
    return np.array([statistic.value(statistic.features[row].mean(axis=0)) for row in drawn])


def bias_corrected(statistic, confidence, seed, resamples):
    """Efron & Tibshirani 1993, equation 14.10 with an acceleration of 0."""
    values = replicas(statistic, seed, resamples)
    below = np.mean(values < statistic.estimate()) + np.mean(values == statistic.estimate()) / 2
    tail = norm.ppf((1 - confidence) / 2)
    return np.quantile(values, norm.cdf([2 * norm.ppf(below) + z for z in (tail, -tail)]))


STATISTICS = {
    "mean": mean_of(VALUES),
    "ratio": RATIO,
    "difference": mean_of(VALUES) - mean_of(RATIO.features[:, 0]),
    "share, with ties": mean_of(np.arange(30) % 3 == 0),
}


@pytest.mark.parametrize("statistic", STATISTICS.values(), ids=STATISTICS)
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_an_interval_is_the_bias_corrected_percentiles(statistic, confidence):
    (found,) = intervals([statistic], confidence, seed=3, resamples=200)
    expected = bias_corrected(statistic, confidence, 3, 200)
    assert found.estimate == statistic.estimate()
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.confidence == confidence


def test_all_statistics_see_the_same_resamples():
    together = intervals([mean_of(VALUES), RATIO], seed=4, resamples=150)
    apart = [intervals([one], seed=4, resamples=150)[0] for one in (mean_of(VALUES), RATIO)]
    for one, other in zip(together, apart, strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high))


@pytest.mark.parametrize("counts", [1, 10 * 30])
def test_resamples_drawn_in_parts_are_those_drawn_at_once(monkeypatch, counts):
    (whole,) = intervals([RATIO], seed=5, resamples=101)
    monkeypatch.setattr(of_means, "_COUNTS_AT_A_TIME", counts)
    (parts,) = intervals([RATIO], seed=5, resamples=101)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.1, -0.2, 5.0, -5.0])
def test_p_is_twice_the_smaller_tail_beyond_0_and_never_below_what_resamples_can_show(shift):
    statistic = mean_of(VALUES - VALUES.mean() + shift)
    values = replicas(statistic, 6, 99)
    smaller = min((values <= 0).sum(), (values >= 0).sum())
    assert two_sided_p(statistic, 6, 99) == min(1, 2 * (smaller + 1) / 100)


def test_resamples_in_which_a_statistic_does_not_exist_do_not_count():
    share = OfMeans(
        np.array([[1, 1], [0, 0], [0, 1], [0, 0]]), lambda means: means[..., 0] / means[..., 1]
    )
    with np.errstate(invalid="ignore"):
        values = replicas(share, 7, 60)
    existing = values[np.isfinite(values)]
    assert 0 < len(existing) < 60
    zeros, positive = (existing <= 0).sum(), (existing >= 0).sum()
    expected = min(1, 2 * (min(zeros, positive) + 1) / (len(existing) + 1))
    assert two_sided_p(share, 7, 60) == expected
    (found,) = intervals([share], seed=7, resamples=60)
    assert 0 <= found.low <= found.estimate <= found.high <= 1


def test_a_statistic_that_exists_only_elsewhere_or_only_here_has_no_interval():
    mean = VALUES.mean()

    def statistic(here, elsewhere):
        return OfMeans(
            VALUES[:, np.newaxis],
            lambda m: np.where(np.abs(m[..., 0] - mean) < 1e-12, here, elsewhere),
        )

    assert intervals([statistic(np.nan, 1.0)], resamples=10) == [None]
    assert intervals([statistic(1.0, np.nan)], resamples=10) == [None]


def test_a_statistic_that_exists_in_no_resample_has_no_interval_and_no_evidence():
    nowhere = OfMeans(np.ones((5, 1)), lambda means: means[..., 0] * np.nan)
    assert np.isnan(nowhere.estimate())
    assert intervals([nowhere], resamples=10) == [None]
    assert two_sided_p(nowhere, resamples=10) == 1


@pytest.mark.parametrize("size", [0.0, 2.0])
def test_an_estimate_beyond_all_resamples_is_still_in_its_interval(size):
    """A maximum of means: no resample of the second feature can be further out."""
    far = OfMeans(
        np.array([[1.0, 0.0], [0.0, 1.0]] * 10),
        lambda means: np.where(means[..., 0] == 0.5, size, 1.0 + 0 * means[..., 0]),
    )
    (found,) = intervals([far], resamples=200)
    assert found.low <= found.estimate <= found.high
    assert found.estimate == size


@pytest.mark.parametrize("beyond", [100.0, -100.0])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_where_all_resamples_are_on_one_side_half_of_one_counts_for_the_other(beyond, confidence):
    mean = VALUES.mean()
    statistic = OfMeans(
        VALUES[:, np.newaxis], lambda m: m[..., 0] + beyond * (np.abs(m[..., 0] - mean) < 1e-12)
    )
    values = replicas(statistic, 9, 5)
    share = 4.5 / 5 if beyond > 0 else 0.5 / 5
    reach = norm.ppf((1 + confidence) / 2)
    tails = norm.cdf([2 * norm.ppf(share) - reach, 2 * norm.ppf(share) + reach])
    low, high = np.quantile(values, tails)
    (found,) = intervals([statistic], confidence, seed=9, resamples=5)
    expected = (low, found.estimate) if beyond > 0 else (found.estimate, high)
    assert (found.low, found.high) == pytest.approx(expected)


def test_two_examples_are_enough_and_the_seed_is_0_unless_given():
    two = mean_of(np.array([1.0, 3.0]))
    assert intervals([two], resamples=20) == intervals([two], seed=0, resamples=20)
    assert intervals([two], resamples=20)[0].estimate == 2
    many = mean_of(VALUES - VALUES.mean())
    assert intervals([many], resamples=20) == intervals([many], seed=0, resamples=20)
    assert two_sided_p(many, resamples=20) == two_sided_p(many, seed=0, resamples=20)


def test_a_difference_is_of_the_same_examples():
    first, second = mean_of(VALUES), RATIO
    difference = first - second
    assert difference.estimate() == pytest.approx(first.estimate() - second.estimate())
    mirrored = second - first
    assert mirrored.estimate() == pytest.approx(-difference.estimate())
    expected = replicas(first, 8, 50) - replicas(second, 8, 50)
    np.testing.assert_allclose(replicas(difference, 8, 50), expected)


def test_confidence_is_a_share():
    with pytest.raises(ValueError, match="between 0 and 1"):
        intervals([mean_of(VALUES)], confidence=1.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        intervals([], confidence=0.0)
