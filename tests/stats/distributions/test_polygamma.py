"""The derivatives of log Gamma, against SciPy, as numbers and as arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import special

from bench.stats.distributions.polygamma import digamma, tetragamma, trigamma

ABOVE_ZERO = st.one_of(
    st.integers(1, 400).map(lambda freedom: freedom / 2),
    st.floats(-8, 20).map(lambda power: 10**power),
)


@given(ABOVE_ZERO)
@example(1.4616321449683622)
def test_numbers_are_scipys(x):
    assert digamma(x) == pytest.approx(special.digamma(x), rel=1e-13, abs=2e-15)
    assert trigamma(x) == pytest.approx(special.polygamma(1, x), rel=1e-13)
    assert tetragamma(x) == pytest.approx(special.polygamma(2, x), rel=1e-13)


def test_arrays_are_as_their_numbers():
    x = np.array([0.5, 1.0, 1.5, 4.0, 300.0])
    for function in (digamma, trigamma, tetragamma):
        assert function(x) == pytest.approx([float(function(one)) for one in x.tolist()], rel=1e-15)


def test_halves_of_degrees_of_freedom_keep_all_digits():
    x = np.arange(1, 400) / 2
    assert digamma(x) == pytest.approx(special.digamma(x), rel=1e-13)
