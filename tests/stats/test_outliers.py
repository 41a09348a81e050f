"""Outliers are counted by class and never dropped."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.stats.outliers import classify_outliers, modified_z_scores


def test_each_class_is_counted_on_its_side():
    # Median 100 and MAD 2, so 3.5 and 10 modified z-scores are 10.4 and 29.7 away.
    body = [96, 97, 98, 99, 100, 101, 102, 103, 104] * 5
    found = classify_outliers([*body, 60, 85, 115, 116, 140])
    assert found.counts() == {"low_severe": 1, "low_mild": 1, "high_mild": 2, "high_severe": 1}


def test_normal_samples_have_next_to_no_outliers():
    found = classify_outliers(np.random.default_rng(17).normal(100, 3, 100_000))
    # Beyond 3.5 standard deviations lie 0.047% of a normal distribution.
    assert found.low_mild + found.high_mild == pytest.approx(47, abs=25)
    assert found.low_severe == found.high_severe == 0


def test_a_coarse_clock_that_mostly_reads_the_same_still_shows_its_outliers():
    assert classify_outliers([100] * 98 + [101, 5000]).high_severe == 1


def test_no_samples_and_equal_samples_have_no_outliers():
    assert set(classify_outliers([]).counts().values()) == {0}
    assert set(classify_outliers([7, 7, 7]).counts().values()) == {0}


@given(st.lists(st.floats(-1e6, 1e6), max_size=50))
def test_mirrored_samples_have_mirrored_outliers(samples):
    there, back = classify_outliers(samples), classify_outliers([-x for x in samples])
    assert (there.low_mild, there.low_severe) == (back.high_mild, back.high_severe)
    assert sum(there.counts().values()) <= len(samples)


def test_samples_are_one_dimensional():
    with pytest.raises(ValueError, match="one-dimensional"):
        modified_z_scores(np.ones((2, 2)))


def test_scores_are_scipys_median_absolute_deviations():
    samples = np.random.default_rng(18).lognormal(5, 1, 51)
    scale = stats.median_abs_deviation(samples, scale=0.6745)
    expected = (samples - np.median(samples)) / scale
    np.testing.assert_allclose(modified_z_scores(samples), expected, rtol=1e-12)


def test_where_most_samples_are_equal_the_mean_deviation_takes_the_place_of_the_median_one():
    scores = modified_z_scores([100] * 98 + [101, 5000])
    mean_deviation = (1 + 4900) / 100
    expected = np.sqrt(2 / np.pi) * np.array([1, 4900]) / mean_deviation
    np.testing.assert_allclose(scores[-2:], expected, rtol=1e-4)
    np.testing.assert_allclose(modified_z_scores([1.0] * 9 + [1.5])[-1], 7.979)
    assert modified_z_scores([3.0]).tolist() == [0.0]


def test_an_outlier_lies_beyond_the_threshold_and_not_on_it():
    # A MAD of 0.6745, so that a distance is its score.
    body = [-0.6745] * 4 + [0.0] + [0.6745] * 4
    on = [-10.0, -3.5, 3.5, 10.0]
    assert classify_outliers([*body, *on]).counts() == {
        "low_severe": 0,
        "low_mild": 1,
        "high_mild": 1,
        "high_severe": 0,
    }
    assert set(classify_outliers([*body, -3.5, 3.5]).counts().values()) == {0}
    beyond = np.nextafter(on, [-np.inf, -np.inf, np.inf, np.inf])
    assert set(classify_outliers([*body, *beyond]).counts().values()) == {1}
