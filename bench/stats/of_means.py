"""Statistics of labelled examples that are functions of means over the examples.

Agreement, Cohen's kappa, a mean divergence and the calibration error are all of this kind: each
example has a few numbers (its *features*), and the statistic is a function of their means. That
makes the bootstrap a matrix product: a resample is a vector of counts, and the means of all
features of all models come from the same counts, so differences between models are paired.

Intervals are bias-corrected percentiles (Efron & Tibshirani 1993, "An Introduction to the
Bootstrap", chapter 14, with acceleration 0): the calibration error of a resample is larger than
that of the data, and plain percentiles would inherit it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.arrays import Array
from bench.defaults import CONFIDENCE
from bench.stats.distributions import normal
from bench.stats.interval import Interval, check_confidence

RESAMPLES = 2000  #: Efron & Tibshirani 1993, chapter 14.3: at least 1000 for such an interval
#: Counts drawn at a time: bounds the memory to about 40 MB.
_COUNTS_AT_A_TIME = 5_000_000


@dataclass(frozen=True)
class OfMeans:
    """A statistic ``value(features.mean(axis=0))``.

    ``features`` has shape (n, f), float or bool; ``value`` takes means of shape (..., f) and gives
    shape (...), NaN where the statistic does not exist.
    """

    features: Array
    value: Callable[[Array], Array]

    def estimate(self) -> float:
        """The statistic of the examples at hand; NaN where it does not exist."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(self.value(np.asarray(self.features, dtype=np.float64).mean(axis=0)))

    def __sub__(self, other: OfMeans) -> OfMeans:
        """The difference of two statistics of the same examples, in the same order."""
        split = self.features.shape[1]
        both = np.concatenate([self.features, other.features], axis=1, dtype=np.float64)
        return OfMeans(both, lambda m: self.value(m[..., :split]) - other.value(m[..., split:]))


def mean_of(values: Array) -> OfMeans:
    """The mean of ``values``, shape (n,)."""
    return OfMeans(np.asarray(values)[:, np.newaxis], lambda means: means[..., 0])


def intervals(
    statistics: Sequence[OfMeans],
    confidence: float = CONFIDENCE,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Interval | None]:
    """An interval for each statistic, all from the same resamples of the same n examples.

    None where the statistic does not exist for the examples at hand. Raises `ValueError` where the
    statistics are of different numbers of examples, or of fewer than 2.
    """
    check_confidence(confidence)
    sizes = {len(statistic.features) for statistic in statistics}
    if not statistics:
        return []
    if len(sizes) != 1 or min(sizes) < 2:
        raise ValueError(f"the statistics must share at least 2 examples, not {sorted(sizes)}")
    features = np.concatenate([s.features for s in statistics], axis=1, dtype=np.float64)
    means = _resampled_means(features, seed, resamples)
    ends = np.cumsum([s.features.shape[1] for s in statistics])
    parts = np.split(means, ends[:-1], axis=1)
    return [_interval(s, part, confidence) for s, part in zip(statistics, parts, strict=True)]


def replicas(
    statistics: Sequence[OfMeans], seed: int = 0, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Each statistic in each resample, shape (resamples, statistics): NaN where it does not exist.

    The resamples are those of `intervals` for the same seed.
    """
    features = np.concatenate([s.features for s in statistics], axis=1, dtype=np.float64)
    means = _resampled_means(features, seed, resamples)
    ends = np.cumsum([s.features.shape[1] for s in statistics])
    parts = np.split(means, ends[:-1], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([s.value(part) for s, part in zip(statistics, parts, strict=True)], axis=1)


def two_sided_p(interval_of: OfMeans, seed: int = 0, resamples: int = RESAMPLES) -> float:
    """Bootstrap p-value of "the statistic is 0": twice the smaller tail of the resamples beyond 0.

    (count + 1) / (resamples + 1), so never below what that many resamples can show (Davison &
    Hinkley 1997, "Bootstrap Methods and their Application", section 4.2).
    """
    replicas = _replicas(interval_of, _resampled_means(interval_of.features, seed, resamples))
    if not replicas.size:
        return 1.0
    fewer = min(int((replicas <= 0).sum()), int((replicas >= 0).sum()))
    return min(1.0, 2 * (fewer + 1) / (replicas.size + 1))


def _resampled_means(features: Array, seed: int, resamples: int) -> NDArray[np.float64]:
    """Means of the features in each resample, shape (resamples, f)."""
    features = np.asarray(features, dtype=np.float64)
    n = len(features)
    rng = np.random.default_rng(seed)
    rows = max(1, _COUNTS_AT_A_TIME // n)
    found = []
    for start in range(0, resamples, rows):
        some = min(rows, resamples - start)
        drawn = rng.integers(0, n, (some, n))
        drawn += np.arange(some)[:, np.newaxis] * n
        counts = np.bincount(drawn.ravel(), minlength=some * n).reshape(some, n)
        found.append(counts.astype(np.float64) @ features / n)
    return np.concatenate(found)


def _replicas(statistic: OfMeans, means: Array) -> NDArray[np.float64]:
    """The statistic of each resample, without those where it does not exist."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.asarray(statistic.value(means), dtype=np.float64)
    return values[np.isfinite(values)]


def _interval(statistic: OfMeans, means: Array, confidence: float) -> Interval | None:
    estimate = statistic.estimate()
    replicas = _replicas(statistic, means)
    if not np.isfinite(estimate) or not replicas.size:
        return None
    below = float((replicas < estimate).sum() + 0.5 * (replicas == estimate).sum())
    # Half a replica from the ends keeps the quantile finite.
    share = min(max(below, 0.5), replicas.size - 0.5) / replicas.size
    bias = 2 * normal.quantile(share)
    ends = normal.quantile((1 - confidence) / 2), normal.quantile((1 + confidence) / 2)
    tails = [normal.below(bias + end) for end in ends]
    low, high = (float(q) for q in np.quantile(replicas, tails))
    return Interval(estimate, min(low, estimate), max(high, estimate), confidence)
