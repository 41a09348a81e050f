"""The normal distribution and Student's t, against SciPy over all that callers ask for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri, stdtr, stdtrit
from scipy.stats import t

from bench.stats.distributions import normal, student

#: Shares of all sizes, near 0 and 1 too.
SHARES = st.one_of(
    st.floats(0.001, 0.999),
    st.floats(-100, -1).map(lambda power: 10**power),
    st.floats(-15.5, -1).map(lambda power: 1 - 10**power),
)
FREEDOMS = st.one_of(
    st.integers(1, 60), st.floats(1, 1000), st.floats(0, 14).map(lambda power: 10**power)
)


@given(st.floats(-37, 40))
def test_the_normal_distribution_is_scipys(x):
    """To the argument's own rounding, which changes a far tail by x^2 times as much."""
    assert normal.below(x) == pytest.approx(ndtr(x), rel=1e-12)


@given(st.one_of(SHARES, st.floats(-300, -100).map(lambda power: 10**power)))
def test_normal_quantiles_are_scipys_and_lead_back(share):
    found = normal.quantile(share)
    assert found == pytest.approx(ndtri(share), rel=1e-12)
    assert normal.below(found) == pytest.approx(share, rel=1e-12)


def test_the_ends_of_the_normal_distribution_are_scipys():
    for share in (0.0, 1.0, 0.5, 0, 1, -0.1, 1.1, math.nan):
        assert normal.quantile(share) == pytest.approx(ndtri(share), nan_ok=True)
    for x in (-math.inf, math.inf, 0.0, math.nan):
        assert normal.below(x) == pytest.approx(ndtr(x), nan_ok=True)


@given(FREEDOMS, SHARES)
@example(1, 1 - 1e-15)
@example(1.0, 1e-100)
@example(1e10, 0.975)
@example(1.0001e10, 1e-15)
@example(1e300, 0.975)
def test_students_quantiles_are_scipys_and_lead_back(freedom, share):
    assume(abs(share - 0.5) > 1e-3)  # nearer, SciPy 1.17 loses all but 3 digits
    found = student.quantile(freedom, share)
    assert found == pytest.approx(stdtrit(freedom, share), rel=1e-10)
    assert stdtr(freedom, found) == pytest.approx(share, rel=1e-10)


@given(FREEDOMS, st.floats(-12, -4).map(lambda power: 10**power))
def test_students_quantiles_near_the_centre_follow_the_density(freedom, beyond):
    """By the first terms of the series of its integral from 0 on."""
    share = 0.5 + beyond
    found = student.quantile(freedom, share)
    curved = found * (1 - found**2 * (1 + 1 / freedom) / 6)
    assert curved * t.pdf(0, freedom) == pytest.approx(share - 0.5, rel=1e-12)


def test_students_quantiles_of_one_and_two_degrees_have_formulas():
    """Cauchy's distribution, and Johnson, Kotz & Balakrishnan 1995, section 28.2."""
    for tail in (1e-15, 1e-6, 0.0125, 0.2, 0.26, 0.49):
        assert student.quantile(1, tail) == pytest.approx(-1 / math.tan(math.pi * tail), rel=1e-13)
        two = (2 * tail - 1) / math.sqrt(2 * tail * (1 - tail))
        assert student.quantile(2, tail) == pytest.approx(two, rel=1e-13)
        assert student.quantile(2, 1 - tail) == pytest.approx(-two, rel=1e-16 / tail + 1e-13)


def test_the_ends_of_students_distribution_are_scipys():
    for freedom in (1, 7.5, 1e12, math.inf):
        for share in (0.0, 1.0, 0.5, math.nan):
            expected = t.ppf(share, freedom)
            assert student.quantile(freedom, share) == pytest.approx(expected, nan_ok=True)
    assert student.quantile(math.inf, 0.975) == normal.quantile(0.975)
    for freedom in (0.99, 0, -1, math.nan):
        with pytest.raises(ValueError, match="from 1 degree of freedom up"):
            student.quantile(freedom, 0.975)


def test_many_quantiles_are_those_of_each():
    freedoms = np.array([4.0, 2.5, 4.0, 1.0, 1000.0, 2.5])
    found = student.quantiles(freedoms, 0.975)
    assert found.tolist() == [student.quantile(freedom, 0.975) for freedom in freedoms]
    assert found == pytest.approx(stdtrit(freedoms, 0.975), rel=1e-12)
