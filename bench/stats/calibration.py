"""What a classifier's output distributions say: how far from another's, and how well calibrated.

``outputs`` are float arrays of shape (n, classes): logits, or probabilities where every row is
non-negative and sums to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.stats.of_means import OfMeans, mean_of

Array = NDArray[Any]

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
        raise ValueError(f"a temperature is above 0, not {temperature}")
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


def calibration_error(labels: Array, outputs: Array, bins: int = BINS) -> OfMeans:
    """Expected calibration error of the most probable class, with ``bins`` bins of equal width.

    Guo et al. 2017, "On calibration of modern neural networks" (arXiv 1706.04599), equation 3: the
    mean over bins of |accuracy - confidence|, weighted by their shares of the examples.
    """
    log_p = log_probabilities(outputs)
    confidence = np.exp(log_p.max(axis=1))
    right = log_p.argmax(axis=1) == np.asarray(labels)
    # Bins are open below and closed above, as in the paper.
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    features = np.zeros((len(confidence), bins))
    features[np.arange(len(confidence)), place] = right - confidence
    return OfMeans(features, lambda means: np.asarray(np.abs(means).sum(axis=-1)))


def _are_probabilities(values: Array) -> bool:
    return bool((values >= 0).all() and (np.abs(values.sum(axis=1) - 1) < _SUMS_TO_ONE).all())
