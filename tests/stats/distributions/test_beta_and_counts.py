"""Beta, binomial and hypergeometric distributions, against SciPy over all that callers ask for."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.special import betainc, betaincinv
from scipy.stats import binom, fisher_exact, hypergeom

from bench.stats.distributions import beta, binomial, hypergeometric

COUNTS = st.one_of(st.integers(1, 40), st.floats(0, 6.5).map(lambda power: round(10**power)))
SIZES = st.one_of(COUNTS.map(float), st.floats(1, 1000), st.sampled_from([0.5]))
#: How many standard deviations from the mean.
AWAY = st.floats(-9, 9)
#: The smallest chance that is compared: below, floats have lost their digits.
LEAST = 1e-280


def near_mean(a: float, b: float, away: float) -> float:
    """An argument so many standard deviations from the mean of a beta distribution."""
    mean = a / (a + b)
    return mean + away * math.sqrt(mean * (1 - mean) / (a + b + 1))


def rounding(a: float, b: float, away: float) -> float:
    """The relative precision that can be asked for. The argument's own rounding, of 1e-16, changes
    a tail by as many times more as it lies deviations away, times the square root of the counts;
    SciPy's own error grows with the counts where one is small (`test_large_counts_keep_digits`)."""
    return 1e-12 + 1e-15 * (1 + abs(away)) * math.sqrt(a + b) + 3e-17 * (a + b)


@given(SIZES, SIZES, AWAY)
@example(0.5, 5e5, 3.0)
@example(5e5, 0.5, -3.0)
def test_the_beta_distribution_is_scipys(a, b, away):
    x = near_mean(a, b, away)
    assume(0 < x < 1)
    expected = betainc(a, b, x)
    assume(expected > LEAST)
    assert beta.below(a, b, x) == pytest.approx(expected, rel=rounding(a, b, away))


@pytest.mark.parametrize(
    ("a", "b", "x", "expected"),
    [
        (6, 3112594, 2.3196959369734895e-06, 0.7265370237362063),
        (2, 2973350, 1.43893e-06, 0.9268186387092947),
        (40, 99960, 0.0003, 0.04622236276613248),
        (0.5, 50000.0, 3e-05, 0.9167370251628749),
        (120, 1100, 0.07, 0.00013251425699605787),
    ],
)
def test_large_counts_keep_digits(a, b, x, expected):
    """By mpmath 1.3 with 60 digits; SciPy 1.17 is off by 3e-11 in the first."""
    assert beta.below(a, b, x) == pytest.approx(expected, rel=1e-14)


@given(COUNTS, COUNTS, AWAY)
def test_exchanging_the_counts_mirrors_the_beta_distribution(a, b, away):
    x = near_mean(a, b, away)
    assume(0 < x < 1)
    tails = beta.lower_tail(a, b, x, 1 - x), beta.lower_tail(b, a, 1 - x, x)
    assert sum(tails) == pytest.approx(1, abs=1e-13)


SHARES = st.one_of(
    st.floats(0.001, 0.999),
    st.floats(-16, -1).map(lambda power: 10**power),
    st.floats(-13, -1).map(lambda power: 1 - 10**power),
)


@given(COUNTS, COUNTS, SHARES)
@example(1, 10**6, 1e-12)
@example(10**6, 1, 1 - 1e-12)
@example(1, 1, 0.5)
@example(300, 1, 1e-16)
def test_beta_quantiles_are_scipys_and_lead_back(a, b, share):
    found = beta.quantile(a, b, share)
    assert found == pytest.approx(betaincinv(a, b, share), rel=1e-10)
    assert 1 - found == pytest.approx(1 - betaincinv(a, b, share), rel=1e-10, abs=1e-15)
    # The rounding of a quantile near 1 changes what lies below.
    assert beta.below(a, b, found) == pytest.approx(share, rel=1e-10 + 1e-15 * a)


def test_the_ends_of_the_beta_distribution_are_scipys():
    for x in (0, 1, -0.1, 1.1, math.nan):
        assert beta.below(2, 3, x) == pytest.approx(betainc(2, 3, x), nan_ok=True)
        assert beta.quantile(2, 3, x) == pytest.approx(betaincinv(2, 3, x), nan_ok=True)
    with pytest.raises(ValueError, match="from 1 up"):
        beta.quantile(0.5, 3, 0.5)


@given(COUNTS, st.one_of(st.sampled_from([0.5, 1 - 0.99]), st.floats(1e-4, 1 - 1e-4)), AWAY)
def test_the_binomial_distribution_is_scipys(trials, chance, away):
    mean = trials * chance
    successes = round(mean + away * math.sqrt(mean * (1 - chance)))
    assume(0 <= successes <= trials)
    # Of SciPy's binomials bdtr and bdtrc lose digits with the trials: 9 are left of a million.
    at_most, at_least = (
        binom.cdf(successes, trials, chance),
        binom.sf(successes - 1, trials, chance),
    )
    close = rounding(trials, 0, away)
    if at_most > LEAST:
        assert binomial.at_most(successes, trials, chance) == pytest.approx(at_most, rel=close)
    if at_least > LEAST:
        assert binomial.at_least(successes, trials, chance) == pytest.approx(at_least, rel=close)


def test_few_fair_trials_have_exact_chances():
    for trials in range(20):
        for successes in range(trials + 1):
            ways = sum(math.comb(trials, k) for k in range(successes + 1))
            found = binomial.at_most(successes, trials, 0.5)
            assert found == pytest.approx(ways / 2**trials, rel=1e-14)


GROUPS = st.tuples(COUNTS, st.floats(0, 1)).map(lambda g: (round(g[0] * g[1] ** 4), g[0]))


@given(GROUPS, GROUPS)
@example((0, 5), (5, 5))
@example((5, 5), (0, 5))
@example((5, 5), (5, 5))
@example((0, 3), (0, 4))
@example((30, 10**6), (10, 10**6))
def test_fishers_test_is_scipys(one, other):
    (seen, drawn), (others, rest) = one, other
    found = hypergeometric.at_least(seen, drawn, seen + others, drawn + rest)
    expected = hypergeom.sf(seen - 1, drawn + rest, seen + others, drawn)
    assume(expected > LEAST)
    # SciPy takes logarithms of factorials apart, which costs it digits.
    assert found == pytest.approx(expected, rel=1e-12 + 1e-14 * (drawn + rest))
    table = [[seen, drawn - seen], [others, rest - others]]
    p = fisher_exact(table, alternative="greater").pvalue
    assert found == pytest.approx(p, rel=1e-12 + 1e-14 * (drawn + rest))


def test_few_draws_have_exact_chances():
    for total in range(1, 13):
        for drawn in range(total + 1):
            for marked in range(total + 1):
                for seen in range(-1, drawn + 2):
                    ways = sum(
                        math.comb(marked, k) * math.comb(total - marked, drawn - k)
                        for k in range(max(seen, 0), drawn + 1)
                    )
                    found = hypergeometric.at_least(seen, drawn, marked, total)
                    assert found == pytest.approx(ways / math.comb(total, drawn), rel=1e-14)
