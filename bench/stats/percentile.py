"""Latency percentiles as MLPerf reports them: an order statistic that the sample count supports.

MLPerf Inference's *early stopping* rule: of n queries let t be the greatest number such that,
were the true share of queries below the bound only p, seeing at most t of n above it would have a
chance below 1 - c. Then ``sorted[n - t]`` is an upper bound of the p-percentile at confidence c.
Source: mlcommons/inference, loadgen/early_stopping.cc (``odds``, ``find_min_passing``) and
loadgen/results.cc (``PerformanceSummary::EarlyStopping``), with c = 0.99 and tolerance d = 0.

The chance is that of the binomial distribution, P(X <= t | n, 1 - p), which is the regularised
incomplete beta function I_p(n - t, t + 1). It takes queries as independent, and the queries of
one process are not: the value is reported because the field reports it, and its interval has to
come from the spread over invocations (`bench.stats.interval`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.stats.distributions import beta, normal

Samples = Sequence[float] | NDArray[Any]

#: loadgen/results.cc: the confidence of the early-stopping estimate
MLPERF_CONFIDENCE = 0.99
#: loadgen/results.cc: an estimate needs at least this many queries above the percentile
FEWEST_ABOVE = 1
#: the beta distribution is right to a hundredth of this
_ROUNDING = 1e-12
#: low enough to be free of contention, high enough to be no single sample
FLOOR = 0.01


@lru_cache(maxsize=256)
def minimum_samples(
    p: float, confidence: float = MLPERF_CONFIDENCE, above: int = FEWEST_ABOVE
) -> int:
    """The fewest samples that support the p-percentile: 64 for p90, 662 for p99, 6636 for p99.9.

    ``p`` lies in (0, 1). With ``above`` it is the fewest queries among which so many may exceed a
    latency bound and the bound still holds (MLPerf's *server* scenario: valid iff n >= h(t) + t).
    Raises `ValueError` for p or confidence outside (0, 1) or a negative ``above``.
    """
    _check(p, confidence)
    if above < 0:
        raise ValueError(f"the number of queries above the bound can't be negative: {above}")
    too_few, enough = above, above + 1
    while not _supports(enough, above, p, confidence):
        too_few, enough = enough, enough * 2
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _supports(middle, above, p, confidence):
            enough = middle
        else:
            too_few = middle
    return enough


@lru_cache(maxsize=1024)
def early_stopping_above(n: int, p: float, confidence: float = MLPERF_CONFIDENCE) -> int | None:
    """MLPerf's t for n samples: ``sorted[n - t]`` is the estimate. None where n is too small."""
    _check(p, confidence)
    if n <= FEWEST_ABOVE or not _supports(n, FEWEST_ABOVE, p, confidence):
        return None
    allowed, too_many, step = FEWEST_ABOVE, n, 1
    above = _likely_above(n, p, confidence)
    # Away from a likely value in growing steps, and halves between the bounds that these find.
    while too_many - allowed > 1:
        if not allowed < above < too_many:
            above = (allowed + too_many) // 2
        if _supports(n, above, p, confidence):
            allowed, above = above, above + step
        else:
            too_many, above = above, above - step
        step *= 2
    return allowed


def early_stopping_percentile(
    samples: Samples, p: float, confidence: float = MLPERF_CONFIDENCE
) -> float | None:
    """MLPerf's early-stopping estimate of the p-percentile, or None where n is too small for it.

    ``samples`` has shape (n,), in any order and unit; 1e7 of them take about a tenth of a second.
    Raises `ValueError` for another shape, and for p or confidence outside (0, 1).
    """
    array = _one_dimension(samples)
    above = early_stopping_above(array.size, p, confidence)
    if above is None:
        return None
    return _order_statistic(array, array.size - above)


def sample_percentile(samples: Samples, p: float) -> float:
    """The p-percentile of the samples themselves: ``sorted[int(n * p)]``, never interpolated.

    As loadgen/results.cc takes it. ``samples`` has shape (n,), n >= 1, in any order; 0 <= p < 1.
    Says nothing about the distribution behind the samples. Raises `ValueError` otherwise.
    """
    array = _one_dimension(samples)
    if array.size == 0:
        raise ValueError("no samples, no percentile")
    if not 0 <= p < 1:
        raise ValueError(f"a percentile lies in [0, 1), not {p}")
    return _order_statistic(array, int(array.size * p))


def median(samples: Samples) -> float:
    """``sorted[int(n / 2)]``: the upper of the two middle samples where n is even."""
    return sample_percentile(samples, 0.5)


def floor(samples: Samples) -> float:
    """The 1st percentile: what the machine does when it is left alone.

    Under contention the median tells about the neighbours too; the floor keeps telling about the
    program. It stays clear of the minimum, which one misread clock can spoil.
    """
    return sample_percentile(samples, FLOOR)


def _likely_above(n: int, p: float, confidence: float) -> int:
    """About the t of n samples: the binomial's quantile as the normal has it, with the first
    correction for skew (Cornish & Fisher 1938)."""
    z = normal.quantile(1 - confidence)
    deviation = math.sqrt(n * p * (1 - p))
    return math.floor(n * (1 - p) + z * deviation + (z * z - 1) * (2 * p - 1) / 6 - 0.5)


def _supports(n: int, above: int, p: float, confidence: float) -> bool:
    """Whether ``above`` < ``n`` queries over the bound prove that a share p lies below it."""
    # Strictly below, as in find_min_passing: what equals it but for rounding is not.
    return beta.below(n - above, above + 1, p) < (1 - confidence) * (1 - _ROUNDING)


def _check(p: float, confidence: float) -> None:
    if not 0 < p < 1:
        raise ValueError(f"a percentile lies between 0 and 1, not {p}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")


def _one_dimension(samples: Samples) -> NDArray[Any]:
    array = np.asarray(samples)
    if array.ndim != 1:
        raise ValueError(f"samples must be one-dimensional, not of shape {array.shape}")
    return array


def _order_statistic(array: NDArray[Any], index: int) -> float:
    return float(np.partition(array, index)[index])
