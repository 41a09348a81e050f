"""The bootstrap over examples: agreement with scipy.stats, coverage, pairing."""

import numpy as np
import pytest
from scipy import stats

from bench.stats.bootstrap import bca_interval, paired_bca_interval, percentile_interval


def mean(x):
    return x.mean(axis=1)


def f1(labels, predicted):
    hits = (labels & predicted).sum(axis=1)
    return 2 * hits / (labels.sum(axis=1) + predicted.sum(axis=1))


def test_bca_agrees_with_scipy_on_a_skewed_statistic():
    x = np.random.default_rng(11).lognormal(0, 1, 60)
    reference = stats.bootstrap(
        (x,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    ours = bca_interval([x], mean, resamples=9999)
    width = reference.high - reference.low
    assert (ours.low, ours.high) == pytest.approx((reference.low, reference.high), abs=0.04 * width)


def test_bca_covers_the_mean_of_skewed_examples():
    samples = np.random.default_rng(12).exponential(size=(400, 60))
    covered = np.mean([bca_interval([x], mean, resamples=500).contains(1.0) for x in samples])
    assert 0.90 <= covered <= 0.98


def test_a_statistic_of_two_arrays_resamples_whole_examples():
    generator = np.random.default_rng(13)
    labels = generator.random(400) < 0.4
    predicted = labels ^ (generator.random(400) < 0.1)
    for interval in (bca_interval, percentile_interval):
        result = interval([labels, predicted], f1)
        assert result.estimate == pytest.approx(float(f1(labels[None], predicted[None])[0]))
        assert 0.01 < result.relative_half_width < 0.06
        assert result.low < result.estimate < result.high


def test_pairing_sees_a_difference_that_single_intervals_hide():
    generator = np.random.default_rng(14)
    difficulty = generator.random(3000)
    first, second = difficulty < 0.90, difficulty < 0.89
    single = [bca_interval([x], mean) for x in (first, second)]
    paired = paired_bca_interval([first], [second], mean)
    assert not single[0].disjoint(single[1])
    assert paired.high < 0
    assert paired.estimate == pytest.approx(-0.01, abs=0.005)


def test_the_same_seed_gives_the_same_interval():
    x = np.random.default_rng(15).random(50)
    assert bca_interval([x], mean, seed=3) == bca_interval([x], mean, seed=3)
    assert bca_interval([x], mean, seed=3) != bca_interval([x], mean, seed=4)


def test_examples_that_all_agree_give_an_interval_of_no_width():
    interval = bca_interval([np.ones(50)], mean)
    assert (interval.low, interval.estimate, interval.high) == (1.0, 1.0, 1.0)


def test_ten_thousand_examples_fit_into_memory_in_batches():
    x = np.random.default_rng(16).random(10_000)
    assert bca_interval([x], mean).relative_half_width == pytest.approx(0.0113, rel=0.15)


@pytest.mark.parametrize(
    ("examples", "statistic", "message"),
    [
        ([np.ones(3), np.ones(4)], f1, "share a first axis"),
        ([np.ones(1)], mean, "at least 2 examples"),
        ([], mean, "share a first axis"),
        ([np.ones(5)], np.mean, "one value a resample"),
        ([np.array([1.0, np.nan])], mean, "not finite"),
    ],
)
def test_what_cannot_be_resampled_is_refused(examples, statistic, message):
    with pytest.raises(ValueError, match=message):
        bca_interval(examples, statistic)
