"""Divergence and calibration, against scipy and by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax
from scipy.stats import entropy, norm

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


# -- the interval, by its formulas -----------------------------------------------------------------


def stated(n, right, confidence):
    """``n`` examples of two classes, each stated with the same confidence, ``right`` of them right:
    all are in one bin."""
    labels = np.array([0] * right + [1] * (n - right))
    return labels, np.tile([confidence, 1 - confidence], (n, 1))


def noise_of_one_bin(n, right):
    share = (right + 1) / (n + 2)  # Laplace's rule of succession
    return np.sqrt(share * (1 - share) / n)


@pytest.mark.parametrize(("n", "right"), [(20, 20), (50, 30), (400, 380), (12, 0)])
def test_the_upper_end_is_normal_noise_above_the_estimate(n, right):
    found = calibration_interval(*stated(n, right, 0.9), confidence=0.9)
    assert found.estimate == pytest.approx(abs(right / n - 0.9))
    reach = norm.ppf(0.95) * noise_of_one_bin(n, right)
    assert found.high == pytest.approx(min(1.0, found.estimate + reach), abs=1e-9)
    assert found.confidence == 0.9


def test_the_lower_end_of_a_doubtful_sign_is_folded_noise_below_the_estimate():
    # |Z| exceeds the normal quantile at 1 - a / 2 with probability a; here 90% of 2.5%.
    found = calibration_interval(*stated(400, 312, 0.9))
    reach = norm.ppf(1 - 0.9 * 0.025 / 2) * noise_of_one_bin(400, 312)
    assert found.low == pytest.approx(0.12 - reach, rel=0.02)


def test_the_lower_end_of_a_sign_beyond_doubt_is_signed_noise_below_the_estimate():
    found = calibration_interval(*stated(400, 240, 0.9))
    reach = norm.ppf(1 - 0.9 * 0.025) * noise_of_one_bin(400, 240)
    assert found.low == pytest.approx(0.30 - reach, rel=0.005)


def test_a_sign_is_beyond_doubt_from_twice_the_reach_of_all_noise_on():
    """The reach holds for all 15 bins at once, but for a tenth of the tail (Bonferroni)."""
    reach = norm.ppf(1 - 0.1 * 0.025 / (2 * BINS))
    signed, folded = norm.ppf(1 - 0.9 * 0.025), norm.ppf(1 - 0.9 * 0.025 / 2)
    found = {}
    for right in range(280, 320):
        noise = noise_of_one_bin(400, right)
        gap = 0.9 - right / 400
        below = gap - calibration_interval(*stated(400, right, 0.9)).low
        expected = signed if gap > 2 * reach * noise else folded
        found[right] = below / noise, expected
    assert {expected for _, expected in found.values()} == {signed, folded}
    for below, expected in found.values():
        assert below == pytest.approx(expected, rel=0.03)


def test_the_noise_of_several_bins_adds_up_by_squares_above():
    one, other = stated(50, 30, 0.9), stated(150, 100, 0.7)
    labels, outputs = (np.concatenate(parts) for parts in zip(one, other, strict=True))
    found = calibration_interval(labels, outputs)
    assert found.estimate == pytest.approx(0.25 * (0.9 - 0.6) + 0.75 * (0.7 - 2 / 3))
    noise = np.hypot(0.25 * noise_of_one_bin(50, 30), 0.75 * noise_of_one_bin(150, 100))
    assert found.high == pytest.approx(found.estimate + norm.ppf(0.975) * noise)


@pytest.mark.parametrize(("confidence", "bins", "mixed"), [(0.5, 2, False), (0.5001, 2, True)])
def test_bins_are_open_below_and_closed_above(confidence, bins, mixed):
    """A gap of +50% of half of the examples and one of about -20% of the others cancel only where
    they are in one bin."""
    wrong, right = stated(10, 0, 0.7), stated(10, 10, confidence)
    labels, outputs = (np.concatenate(parts) for parts in zip(wrong, right, strict=True))
    found = calibration_interval(labels, outputs, bins=bins).estimate
    up, down = 0.5 * (1 - confidence), 0.5 * 0.7
    assert found == pytest.approx(abs(up - down) if mixed else up + down, abs=1e-6)


def test_there_are_15_bins():
    """0.60 is in the ninth of 15 and 0.62 in the tenth; of 16 both are in the tenth."""
    wrong, right = stated(10, 0, 0.60), stated(10, 10, 0.62)
    labels, outputs = (np.concatenate(parts) for parts in zip(wrong, right, strict=True))
    assert calibration_interval(labels, outputs).estimate == pytest.approx(0.5 * (0.60 + 0.38))


def test_logits_of_any_size_have_probabilities():
    found = log_probabilities(np.array([[-3000.0, -3001.0], [3000.0, 1000.0]]))
    np.testing.assert_allclose(found, [log_softmax([1.0, 0.0]), [0.0, -2000.0]])


def test_a_model_that_is_sure_and_right_is_calibrated_within_0_and_1():
    found = calibration_interval(*stated(5, 5, 1.0))
    assert found.estimate == pytest.approx(0, abs=1e-9)
    assert found.low >= 0
    assert calibration_interval(*stated(3, 0, 1.0)).high == 1.0


def test_a_difference_has_half_the_error_for_each_of_the_two():
    rng = np.random.default_rng(9)
    one, other = (drawn(rng, 300, sharpness)[:2] for sharpness in (1.0, 3.0))
    found = difference_of_calibrations(one, other, 0.9)
    mine, theirs = (calibration_interval(*model, confidence=0.95) for model in (one, other))
    assert found.estimate == mine.estimate - theirs.estimate
    assert (found.low, found.high) == (mine.low - theirs.high, mine.high - theirs.low)
    assert found.confidence == 0.9


# -- what counts as probabilities ------------------------------------------------------------------


def test_rows_that_sum_to_one_within_a_thousandth_are_probabilities():
    near = np.array([[0.8, 0.2009], [0.5, 0.5]])
    far = np.array([[0.8, 0.2011], [0.5, 0.5]])
    negative = np.array([[1.5, -0.5], [0.5, 0.5]])
    np.testing.assert_allclose(
        np.exp(log_probabilities(near)), near / near.sum(axis=1, keepdims=True)
    )
    for logits in (far, negative):
        np.testing.assert_allclose(log_probabilities(logits), log_softmax(logits, axis=1))


def test_a_probability_of_nothing_is_taken_as_a_trillionth():
    found = log_probabilities(np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(found, [[0, np.log(1e-12)]], atol=1e-9)


@pytest.mark.parametrize("temperature", [0, -1.0])
def test_a_temperature_is_above_zero(temperature):
    with pytest.raises(ValueError, match="above 0"):
        log_probabilities(np.ones((1, 2)), temperature)


def test_an_overconfident_confidence_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibration_interval(*stated(3, 1, 0.9), confidence=1.0)
