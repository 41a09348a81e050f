"""Divergence and calibration, against scipy and by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax
from scipy.stats import entropy

from bench.stats.calibration import BINS, calibration_error, divergence, log_probabilities

LOGITS = arrays(np.float32, (7, 4), elements=st.floats(-30, 30, width=32))


@given(LOGITS, st.floats(0.5, 8))
def test_log_probabilities_are_a_softmax_at_a_temperature(logits, temperature):
    if (logits >= 0).all() and np.allclose(logits.sum(axis=1), 1, atol=1e-3):
        return
    found = log_probabilities(logits, temperature)
    np.testing.assert_allclose(
        found, log_softmax(logits.astype(float) / temperature, axis=1), atol=1e-9
    )


@given(LOGITS, LOGITS)
def test_divergence_is_scipys_relative_entropy(one, other):
    p, q = np.exp(log_softmax(one.astype(float), 1)), np.exp(log_softmax(other.astype(float), 1))
    for logits in (one, other):
        if np.allclose(logits.sum(axis=1), 1, atol=1e-3):
            return
    expected = np.mean(entropy(p, q, axis=1))
    assert divergence(one, other).estimate() == pytest.approx(expected, abs=1e-6, rel=1e-6)


def test_divergence_of_probabilities_is_that_of_their_logits():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 20, 5)).astype(np.float32)
    p, q = (np.exp(log_softmax(x.astype(float), 1)) for x in (one, other))
    assert divergence(p, q).estimate() == pytest.approx(divergence(one, other).estimate())


def test_a_temperature_softens_the_difference():
    rng = np.random.default_rng(1)
    one, other = 3 * rng.normal(size=(2, 50, 5))
    cold, warm = (divergence(one, other, t).estimate() for t in (1, 4))
    assert 0 < warm < cold
    with pytest.raises(ValueError, match="temperature"):
        divergence(one, other, 0)
    with pytest.raises(ValueError, match="shape"):
        divergence(one, other[:, :4])


def test_calibration_error_bin_by_bin():
    rng = np.random.default_rng(2)
    logits = 2 * rng.normal(size=(500, 6))
    labels = rng.integers(0, 6, 500)
    p = np.exp(log_softmax(logits, 1))
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    expected = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (confidence > low) & (confidence <= low + 1 / BINS)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(labels, logits).estimate() == pytest.approx(expected)


def test_a_model_that_is_as_sure_as_it_is_right_is_calibrated():
    rng = np.random.default_rng(4)
    p = rng.dirichlet(np.ones(3), 20_000)
    labels = (p.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    assert calibration_error(labels, np.log(p)).estimate() < 0.02
