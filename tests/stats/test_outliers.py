"""Outliers are counted by class and never dropped."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
