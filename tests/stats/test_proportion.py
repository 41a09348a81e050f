"""Accuracies: exact intervals, the exact McNemar test, paired differences and ratios."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from bench.stats.proportion import (
    clopper_pearson,
    mcnemar_exact,
    paired_difference_interval,
    retention_interval,
)

counts = st.integers(0, 300)


@given(counts, counts, st.floats(0.5, 0.999))
def test_clopper_pearson_is_that_of_scipy(successes, failures, confidence):
    n = successes + failures or 1
    expected = stats.binomtest(successes, n).proportion_ci(confidence)
    ours = clopper_pearson(successes, n, confidence)
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(counts, counts)
def test_mcnemar_is_the_binomial_test_of_the_discordant(b, c):
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)


@given(counts, counts, st.integers(0, 300))
def test_the_difference_excludes_zero_exactly_when_the_mcnemar_score_does(b, c, concordant):
    n = b + c + concordant or 1
    interval = paired_difference_interval(b, c, n)
    assert -1 <= interval.low <= interval.estimate <= interval.high <= 1
    if b + c:
        score = abs(b - c) / np.sqrt(b + c)
        if abs(score - 1.959964) > 1e-5:
            assert (score > 1.959964) == (not interval.contains(0.0))


@given(counts, counts, st.integers(0, 300))
def test_exchanging_the_models_mirrors_the_difference(b, c, concordant):
    n = b + c + concordant or 1
    there, back = paired_difference_interval(b, c, n), paired_difference_interval(c, b, n)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-12)


def test_no_discordant_example_still_leaves_doubt():
    # With b = c = 0 Tango's limits are +-z^2 / (n + z^2) (Tango 1998, section 4).
    interval = paired_difference_interval(0, 0, 50)
    square = stats.norm.ppf(0.975) ** 2
    assert interval.high == pytest.approx(square / (50 + square))
    assert interval.low == -interval.high


@pytest.mark.parametrize(
    ("b", "c", "n"), [(2, 12, 50), (30, 40, 500), (5, 9, 40), (1, 1, 2), (1, 0, 3), (0, 1, 3)]
)
def test_each_limit_is_where_the_constrained_likelihood_says(b, c, n):
    # Tango's limits, with the nuisance share found by maximising the likelihood numerically.
    interval = paired_difference_interval(b, c, n)
    for limit, expected in ((interval.low, 1.959964), (interval.high, -1.959964)):
        q = np.linspace(max(0, -limit), (1 - limit) / 2, 200_002)[1:-1]
        rest = 1 - 2 * q - limit
        likelihood = b * np.log(q) + c * np.log(q + limit) + (n - b - c) * np.log(rest)
        share = q[np.argmax(likelihood)]
        score = (c - b - n * limit) / np.sqrt(n * (2 * share + limit - limit**2))
        assert score == pytest.approx(expected, abs=1e-3)


TABLES = [
    (50, (0.70, 0.15, 0.05, 0.10)),
    (100, (0.95, 0.02, 0.01, 0.02)),
    (1000, (0.80, 0.08, 0.05, 0.07)),
]


@pytest.mark.parametrize(("n", "shares"), TABLES)
def test_the_paired_intervals_cover_as_often_as_they_say(n, shares):
    both, only_first, only_second, _ = shares
    difference = only_second - only_first
    ratio = (both + only_second) / (both + only_first)
    tables = np.random.default_rng(8).multinomial(n, shares, 1500)
    differences = [paired_difference_interval(int(t[1]), int(t[2]), n) for t in tables]
    ratios = [retention_interval(int(t[0]), int(t[1]), int(t[2])) for t in tables]
    # Discrete: near the edge of the table both are wider than they need be.
    assert 0.935 <= np.mean([i.contains(difference) for i in differences]) <= 0.99
    assert 0.935 <= np.mean([i.contains(ratio) for i in ratios]) <= 0.995


def test_retention_is_near_the_delta_method_for_many_examples():
    interval = retention_interval(80_000, 5_000, 2_000)
    deviation = np.sqrt(7_000 / (85_000 * 82_000))
    expected = 82 / 85 * np.exp(1.96 * deviation * np.array([-1, 1]))
    assert interval.estimate == pytest.approx(82 / 85)
    np.testing.assert_allclose([interval.low, interval.high], expected, atol=2e-4)


@given(st.integers(0, 300), counts, counts, st.sampled_from([0.5, 0.9, 0.95, 0.999]))
@example(0, 5, 0, 0.95)
@example(0, 5, 1, 0.95)
@example(1, 0, 5, 0.95)
@example(7, 0, 0, 0.95)
def test_retention_is_bonett_and_prices_hybrid_of_scipys_wilson_intervals(both, b, c, confidence):
    """As in Fagerland, Lydersen & Laake 2017, "Statistical Analysis of Contingency Tables", section
    8.7: the two Wilson intervals are at a quantile that gives their ratio the right variance."""
    first, second, n = both + b, both + c, both + b + c
    if first == 0:
        return
    joint = np.sqrt((b + c + 2) / ((first + 1) * (second + 1)))
    apart = sum(np.sqrt((1 - (x + 1) / (n + 2)) / (x + 1)) for x in (first, second))
    reached = 1 - 2 * stats.norm.sf(stats.norm.ppf(0.5 + confidence / 2) * joint / apart)
    wilson = [stats.binomtest(x, n).proportion_ci(reached, "wilson") for x in (first, second)]
    found = retention_interval(both, b, c, confidence)
    assert found.estimate == second / first
    assert found.low == pytest.approx(wilson[1].low / wilson[0].high, rel=1e-6, abs=1e-12)
    assert found.high == pytest.approx(wilson[1].high / wilson[0].low, rel=1e-6)
    assert found.confidence == confidence


def test_the_intervals_of_a_published_table():
    """Airway hyper-responsiveness before and after a transplantation, 1 both, 7 before only, 1
    after only, 12 neither (Bentur et al. 2009). Fagerland, Lydersen & Laake 2014, Statistics in
    Medicine 33:2850, give Tango's interval of the difference as -0.517 to -0.026."""
    difference = paired_difference_interval(7, 1, 21)
    assert (difference.low, difference.high) == pytest.approx((-0.517, -0.026), abs=5e-4)


@given(st.integers(0, 300), counts, counts)
def test_retention_brackets_its_estimate(both, b, c):
    if both + b == 0:
        with pytest.raises(ValueError, match="nothing to retain"):
            retention_interval(both, b, c)
        return
    interval = retention_interval(both, b, c)
    assert 0 <= interval.low <= interval.estimate <= interval.high


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="11 successes in 10"):
        clopper_pearson(11, 10)
    with pytest.raises(ValueError, match="can't be -1"):
        mcnemar_exact(-1, 3)
    with pytest.raises(ValueError, match="0 successes in 0"):
        clopper_pearson(0, 0)
    with pytest.raises(ValueError, match="can't be -1"):
        clopper_pearson(-1, 3)
    with pytest.raises(ValueError, match="discordant examples among 10"):
        paired_difference_interval(6, 5, 10)
    with pytest.raises(ValueError, match="discordant examples among 0"):
        paired_difference_interval(0, 0, 0)
    with pytest.raises(ValueError, match="can't be -1"):
        paired_difference_interval(-1, 5, 10)
    with pytest.raises(ValueError, match="can't be -1"):
        retention_interval(5, -1, 3)


@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_confidence_is_a_share(confidence):
    for interval in (clopper_pearson, paired_difference_interval, retention_interval):
        counted = (1, 2, 5)[: 2 if interval is clopper_pearson else 3]
        with pytest.raises(ValueError, match="between 0 and 1"):
            interval(*counted, confidence=confidence)


def test_a_single_example_has_intervals():
    assert clopper_pearson(3, 5).estimate == 0.6
    assert clopper_pearson(1, 1).low == pytest.approx(0.025)
    assert clopper_pearson(0, 1).high == pytest.approx(0.975)
    assert paired_difference_interval(1, 0, 1).estimate == -1
    assert paired_difference_interval(5, 5, 10).contains(0)


@pytest.mark.parametrize(("b", "c"), [(10, 0), (0, 10)])
def test_where_all_differ_one_way_the_difference_reaches_its_end(b, c):
    """Tango's score is infinite beyond: the limit on that side is the estimate itself."""
    found = paired_difference_interval(b, c, 10)
    far, near = (found.low, found.high) if b else (found.high, found.low)
    assert far == found.estimate == (c - b) / 10
    # The likeliest share is (1 - limit) / 2, so (1 + limit) n = z sqrt(n (1 - limit^2)).
    square = stats.norm.ppf(0.975) ** 2
    assert abs(near) == pytest.approx((10 - square) / (10 + square), abs=1e-6)


def test_a_difference_states_its_confidence():
    assert paired_difference_interval(3, 5, 50, 0.9).confidence == 0.9
    assert clopper_pearson(3, 5, 0.9).confidence == 0.9
