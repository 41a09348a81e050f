"""Divergence and acceptance of whole distributions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax
from scipy.stats import entropy

from bench.stats.divergence import acceptances, divergences

LOGITS = arrays(np.float64, (4, 7), elements=st.floats(-30, 30))


@given(LOGITS, LOGITS)
def test_they_are_what_scipy_and_the_total_variation_say(a: np.ndarray, b: np.ndarray) -> None:
    p, q = log_softmax(a, axis=1), log_softmax(b, axis=1)

    expected = entropy(np.exp(p), np.exp(q), axis=1)
    np.testing.assert_allclose(divergences(p, q), expected, rtol=1e-6, atol=1e-6)
    distance = 0.5 * np.abs(np.exp(p) - np.exp(q)).sum(axis=1)
    np.testing.assert_allclose(acceptances(p, q), 1 - distance, atol=1e-12)


def test_an_outcome_that_the_candidate_rules_out_is_infinitely_far() -> None:
    p, q = np.log([[0.5, 0.5]]), np.array([[0.0, -np.inf]])

    assert divergences(p, q).tolist() == [np.inf]
    assert acceptances(p, q) == pytest.approx([0.5])
    assert divergences(q, p) == pytest.approx([np.log(2)])  # what never comes adds nothing
    assert divergences(q, q).tolist() == [0.0]
