"""MLPerf's early stopping: its table, its definition, and no percentile without the samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.stats.percentile import (
    early_stopping_above,
    early_stopping_percentile,
    floor,
    median,
    minimum_samples,
    sample_percentile,
)


@pytest.mark.parametrize(
    ("p", "n"), [(0.90, 64), (0.95, 130), (0.97, 219), (0.99, 662), (0.999, 6636)]
)
def test_the_fewest_samples_are_those_of_loadgen(p, n):
    assert minimum_samples(p) == n
    assert early_stopping_percentile(np.arange(n - 1), p) is None
    # One query above: the estimate is the very largest sample.
    assert early_stopping_percentile(np.arange(n), p) == n - 1


@given(st.integers(1, 5000), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_t_is_the_greatest_number_above_that_the_binomial_allows(n, p):
    above = early_stopping_above(n, p)
    if above is None:
        assert n == 1 or stats.binom.cdf(1, n, 1 - p) >= 0.01
        return
    assert stats.binom.cdf(above, n, 1 - p) < 0.01
    assert stats.binom.cdf(above + 1, n, 1 - p) >= 0.01
    assert n >= minimum_samples(p, above=above)
    assert n < minimum_samples(p, above=above + 1)


@pytest.mark.parametrize(("n", "above"), [(63, None), (64, 1), (65, 1), (101, 3), (700, None)])
def test_the_fewest_above_is_one(n, above):
    if n == 700:
        assert early_stopping_above(n, 0.99) == 1
        assert early_stopping_above(n, 0.999) is None
        return
    assert early_stopping_above(n, 0.90) == above


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("above", [0, 1, 3])
def test_the_fewest_samples_are_those_of_the_binomial_at_any_confidence(confidence, above):
    n = minimum_samples(0.9, confidence, above)
    assert stats.binom.cdf(above, n, 0.1) < 1 - confidence
    assert n == above + 1 or stats.binom.cdf(above, n - 1, 0.1) >= 1 - confidence


def test_a_bound_that_is_met_exactly_is_not_proven():
    """0.5^1 is not below 1 - 0.5: strictly, as loadgen has it."""
    assert minimum_samples(0.5, 0.5, above=0) == 2


def test_confidence_is_a_share():
    for confidence in (0.0, 1.0):
        with pytest.raises(ValueError, match="confidence must lie"):
            minimum_samples(0.9, confidence)
        with pytest.raises(ValueError, match="confidence must lie"):
            early_stopping_above(100, 0.9, confidence)


@given(st.permutations(range(200)))
def test_the_order_of_the_samples_does_not_matter(samples):
    expected = sorted(samples)[200 - early_stopping_above(200, 0.9)]
    assert early_stopping_percentile(samples, 0.9) == expected


def test_the_estimate_is_an_upper_bound_at_its_confidence_for_independent_samples():
    samples = np.random.default_rng(7).exponential(size=(2000, 700))
    truth = -np.log(0.01)
    below = np.mean([early_stopping_percentile(row, 0.99) < truth for row in samples])
    assert below <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 2000)


def test_ten_million_samples_need_no_search_through_them():
    assert early_stopping_above(10_000_000, 0.99) == pytest.approx(99_268, abs=5)
    assert minimum_samples(0.999999) > 6_000_000


def test_percentiles_are_never_interpolated():
    samples = [40, 10, 30, 20]
    assert median(samples) == 30  # sorted[int(4 * 0.5)]
    assert sample_percentile(samples, 0.0) == 10
    assert sample_percentile(samples, 0.99) == 40
    assert floor(list(range(1000, 0, -1))) == 11


@pytest.mark.parametrize("p", [-0.1, 1.0, 99])
def test_a_percentile_is_a_share(p):
    with pytest.raises(ValueError, match="percentile lies"):
        sample_percentile([1, 2], p)
    with pytest.raises(ValueError, match="percentile lies"):
        minimum_samples(p)
    with pytest.raises(ValueError, match="percentile lies"):
        minimum_samples(0.0)


def test_what_is_no_list_of_samples_is_refused():
    with pytest.raises(ValueError, match="no samples"):
        median([])
    with pytest.raises(ValueError, match="one-dimensional"):
        early_stopping_percentile(np.ones((700, 2)), 0.9)
    with pytest.raises(ValueError, match="negative"):
        minimum_samples(0.9, above=-1)
    assert early_stopping_percentile([], 0.9) is None
