"""What a classifier's output distributions say: how far from another's, and how well calibrated.

``outputs`` are float arrays of shape (n, classes): logits, or probabilities where every row is
non-negative and sums to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.arrays import Array
from bench.defaults import CONFIDENCE
from bench.stats.distributions import normal
from bench.stats.interval import Interval, check_confidence
from bench.stats.of_means import OfMeans, mean_of

#: Guo et al. 2017, section 5, use 15 bins.
BINS = 15
#: A probability of 0 has no logarithm; below this, two distributions are told apart anyway.
_SMALLEST = 1e-12
#: Rows of probabilities in float32 sum to 1 within this.
_SUMS_TO_ONE = 1e-3


def log_probabilities(outputs: Array, temperature: float = 1.0) -> NDArray[np.float64]:
    """Logarithms of the class probabilities at ``temperature`` > 0, shape (n, classes).

    softmax(z / T) of logits z (Hinton, Vinyals & Dean 2015, arXiv 1503.02531, equation 1).
    Probabilities are taken as softmax of their logarithms, which is what they are at T = 1.
    """
    if temperature <= 0:
        raise ValueError(f"a temperature must be above 0, not {temperature}")
    values = np.asarray(outputs, dtype=np.float64)
    if _are_probabilities(values):
        values = np.log(np.maximum(values, _SMALLEST))
    values = values / temperature
    values = values - values.max(axis=1, keepdims=True)
    return np.asarray(values - np.log(np.exp(values).sum(axis=1, keepdims=True)))


def divergence(original: Array, other: Array, temperature: float = 1.0) -> OfMeans:
    """Mean Kullback-Leibler divergence KL(original || other) in nats, at ``temperature``.

    What distillation minimises (Hinton et al. 2015), without its factor T**2. Raises `ValueError`
    where the two have not the same classes.
    """
    if np.shape(original) != np.shape(other):
        raise ValueError(f"outputs of shape {np.shape(original)} against {np.shape(other)}")
    p, q = log_probabilities(original, temperature), log_probabilities(other, temperature)
    return mean_of((np.exp(p) * (p - q)).sum(axis=1))


def calibration_interval(
    labels: Array, outputs: Array, confidence: float = CONFIDENCE, bins: int = BINS
) -> Interval:
    """Expected calibration error of the most probable class, with ``bins`` bins of equal width.

    Guo et al. 2017, "On calibration of modern neural networks" (arXiv 1706.04599), equation 3: the
    mean over bins of |accuracy - confidence|, weighted by their shares of the examples.

    The estimate is biased upward, since noise in a bin counts as error whatever its sign, and every
    bootstrap of it is biased twice. So the interval is built from what is known of the noise: with
    gaps d_b and independent noise h_b ~ N(0, s_b), the estimate is the sum of |d_b + h_b|, and

    - it is at least the sum of sign(d_b) (d_b + h_b), which is the truth plus noise of a known
      normal distribution: that gives the upper end;
    - it exceeds the truth by at most the sum of |h_b| (the triangle inequality), whose quantile
      gives the lower end. In bins whose sign is beyond doubt, h_b counts with that sign instead.

    So each end holds with at least its share of ``confidence``, whatever the calibration: the
    interval of a well calibrated model is wide and reaches 0. The bins are taken as given.
    """
    check_confidence(confidence)
    gap, deviation = _bin_gaps(labels, outputs, bins)
    tail = (1 - confidence) / 2
    estimate = float(np.abs(gap).sum())
    high = estimate + normal.quantile(1 - tail) * float(np.sqrt((deviation**2).sum()))
    low = estimate - _excess(gap, deviation, tail)
    return Interval(estimate, min(max(low, 0.0), estimate), min(high, 1.0), confidence)


def difference_of_calibrations(
    this: tuple[Array, Array], other: tuple[Array, Array], confidence: float = CONFIDENCE
) -> Interval:
    """``this`` calibration error minus ``other``'s; each is (labels, outputs).

    From the two intervals, each at half the error (Bonferroni): wider than it need be, and sound
    whatever the two models share.
    """
    mine, theirs = (calibration_interval(*model, (1 + confidence) / 2) for model in (this, other))
    difference = mine.estimate - theirs.estimate
    return Interval(difference, mine.low - theirs.high, mine.high - theirs.low, confidence)


def _bin_gaps(labels: Array, outputs: Array, bins: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """For each bin: its share of the examples times (accuracy - confidence), and the standard
    deviation of that under the labels' randomness, both of shape (bins,)."""
    log_p = log_probabilities(outputs)
    confidence = np.exp(log_p.max(axis=1))
    right = log_p.argmax(axis=1) == np.asarray(labels)
    # Bins are open below and closed above, as in the paper.
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count, hits, sure = (
        np.bincount(place, weights=values, minlength=bins)
        for values in (np.ones(len(place)), right.astype(float), confidence)
    )
    # Laplace's rule: a bin that is all right has not shown that it always will be.
    share = (hits + 1) / (count + 2)
    return (hits - sure) / len(place), np.sqrt(count * share * (1 - share)) / len(place)


#: Draws for the quantile of a sum of |noise|, and the part of a tail that may be spent on taking
#: the sign of a bin for certain; choices of ours.
_DRAWS = 20_000
_SIGN_SHARE = 0.1


def _excess(gap: Array, deviation: Array, tail: float) -> float:
    """By how much the estimate exceeds the truth at most, but for a share ``tail`` of all cases.

    All noise is within ``reach`` standard deviations at once with probability 1 - tail / 10
    (Bonferroni); then a gap seen beyond twice that has the sign that is seen.
    """
    reach = normal.quantile(1 - _SIGN_SHARE * tail / (2 * len(gap)))
    certain = np.abs(gap) > 2 * reach * deviation
    noise = np.random.default_rng(0).standard_normal((_DRAWS, len(gap))) * deviation
    excess = np.where(certain, np.sign(gap) * noise, np.abs(noise)).sum(axis=1)
    return float(np.quantile(excess, 1 - (1 - _SIGN_SHARE) * tail))


def _are_probabilities(values: Array) -> bool:
    return bool((values >= 0).all() and (np.abs(values.sum(axis=1) - 1) < _SUMS_TO_ONE).all())
