"""Divergence and calibration, against scipy and by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax
from scipy.stats import entropy

from bench.stats.calibration import (
    BINS,
    calibration_interval,
    difference_of_calibrations,
    divergence,
    log_probabilities,
)

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
    found = calibration_interval(labels, logits)
    assert found.estimate == pytest.approx(expected)
    assert found.low <= found.estimate <= found.high


def drawn(rng, n, sharpness=1.0, classes=3):
    """Labels drawn from known probabilities, and the outputs of a model that states these
    probabilities sharpened: at 1 it is calibrated."""
    p = rng.dirichlet(np.ones(classes), n)
    labels = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return labels, sharpness * np.log(p), p


def true_error(outputs, p):
    """The calibration error of these outputs with the labels' randomness averaged away."""
    stated = np.exp(log_softmax(outputs, 1))
    confidence, chosen = stated.max(axis=1), stated.argmax(axis=1)
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gap = p[np.arange(len(p)), chosen] - confidence
    return np.abs(np.bincount(place, gap, BINS)).sum() / len(p)


def test_a_model_that_is_as_sure_as_it_is_right_is_calibrated():
    labels, outputs, _ = drawn(np.random.default_rng(4), 20_000)
    found = calibration_interval(labels, outputs)
    assert found.estimate < 0.02
    assert found.low == 0


@pytest.mark.parametrize("sharpness", [1.0, 1.1, 1.5, 4.0])
@pytest.mark.parametrize("n", [200, 2000])
def test_the_interval_covers_the_truth_whatever_the_calibration(sharpness, n):
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        labels, outputs, p = drawn(rng, n, sharpness)
        covered += calibration_interval(labels, outputs).contains(true_error(outputs, p))
    # Nominal 95%; 183 of 200 is what a coverage of 95% misses with a chance below 1%.
    assert covered >= 183


def test_a_certain_miscalibration_has_a_narrow_interval():
    labels, outputs, p = drawn(np.random.default_rng(1), 20_000, 4.0)
    found = calibration_interval(labels, outputs)
    assert found.contains(true_error(outputs, p))
    assert found.high - found.low < 0.1 * found.estimate


def test_a_difference_is_found_where_there_is_one_and_only_there():
    rng = np.random.default_rng(3)
    labels, outputs, _ = drawn(rng, 5000)
    worse = difference_of_calibrations((labels, 3 * outputs), (labels, outputs))
    assert worse.low > 0
    same = difference_of_calibrations((labels, outputs), drawn(rng, 5000)[:2])
    assert same.contains(0)
