"""Statistics of items that come in clusters: tokens of documents, questions about one text.

Tokens of one document are alike, so they are not so many independent observations: documents are
what was drawn, and what is drawn again. Each document contributes sums (bits, bytes, tokens), and
the statistic is a function of the means of those sums over the documents, for example bits over
bytes (`bench.stats.of_means`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.arrays import Array
from bench.stats.distributions import normal, student
from bench.stats.interval import Interval, check_confidence
from bench.stats.of_means import OfMeans, intervals

#: Percentiles of the bootstrap are too narrow for few clusters whatever is done: with 5 documents
#: a resample can't be more extreme than the most extreme document. `tests/stats/test_clusters.py`
#: simulates the coverage of both methods.
FEWEST_RESAMPLED = 20
#: All signs are tried up to so many clusters that differ (2^12 = 4096), else so many are drawn.
_EVERY_SIGN = 12
_SIGNS = 10_000


def sums(values: Array, clusters: Array, count: int) -> NDArray[np.float64]:
    """The sum of ``values`` in each of ``count`` clusters, shape (count,)."""
    found = np.bincount(clusters, weights=np.asarray(values, np.float64), minlength=count)
    return found.astype(np.float64)


def ratio(over: Array, under: Array) -> OfMeans:
    """A mean that is weighted by size: the sum of ``over`` by the sum of ``under``, each of shape
    (clusters,)."""

    def value(means: Array) -> Array:
        found: Array = means[..., 0] / means[..., 1]
        return found

    return OfMeans(np.stack([over, under], axis=1), value)


def by_cluster(statistic: OfMeans, clusters: Array, where: Array | None = None) -> OfMeans:
    """A statistic of items as one of the clusters that they come in: of its features' sums over
    the number of items, so that a cluster counts by its size. ``clusters`` has shape (items,), any
    labels; only items ``where`` it is True count."""
    places = np.unique(clusters, return_inverse=True)[1].reshape(-1)
    count = int(places.max()) + 1
    counted = np.ones(len(places)) if where is None else np.asarray(where, np.float64)
    features = np.asarray(statistic.features, np.float64)
    kept = [sums(column * counted, places, count) for column in features.T]

    def value(means: Array) -> Array:
        return statistic.value(means[..., :-1] / means[..., -1:])

    return OfMeans(np.stack([*kept, sums(counted, places, count)], axis=1), value)


def cluster_intervals(
    statistics: Sequence[OfMeans], confidence: float, seed: int = 0
) -> list[Interval | None]:
    """An interval for each statistic of the same clusters, all from the same resamples.

    From `FEWEST_RESAMPLED` clusters on, percentiles of the bootstrap, at a confidence that allows
    for their being too narrow by sqrt((n - 1) / n) and by the normal's quantile in the place of
    Student's: Hesterberg 2015, The American Statistician 69:371, section 4.2. Below that, Student's
    t of the jackknife, which leaves one cluster out at a time (Efron & Tibshirani 1993, chapter
    11). None where a statistic does not exist. Raises `ValueError` for fewer than 2 clusters.
    """
    check_confidence(confidence)
    if not statistics:
        return []
    count = len(statistics[0].features)
    if count < 2:
        raise ValueError("an interval needs at least 2 clusters")
    if count < FEWEST_RESAMPLED:
        return [_jackknife(statistic, confidence) for statistic in statistics]
    quantile = math.sqrt(count / (count - 1)) * student.quantile(count - 1, 0.5 + confidence / 2)
    found = intervals(statistics, 1 - 2 * normal.below(-quantile), seed)
    return [None if i is None else Interval(i.estimate, i.low, i.high, confidence) for i in found]


def _jackknife(statistic: OfMeans, confidence: float) -> Interval | None:
    features = np.asarray(statistic.features, np.float64)
    count = len(features)
    with np.errstate(divide="ignore", invalid="ignore"):
        without = statistic.value((features.sum(axis=0) - features) / (count - 1))
    estimate = statistic.estimate()
    if not (np.isfinite(estimate) and np.isfinite(without).all()):
        return None
    variance = (count - 1) / count * float(((without - without.mean()) ** 2).sum())
    reach = student.quantile(count - 1, 0.5 + confidence / 2) * math.sqrt(variance)
    return Interval(estimate, estimate - reach, estimate + reach, confidence)


def sign_flip_p(differences: Array, seed: int = 0) -> float:
    """Two-sided p-value of "neither of two models is better", from the difference of each cluster.

    Were they equally good, each cluster's difference could as well have had the other sign: p is
    the share of all signs whose sum is as far from 0 as the one that was found. Exact up to 12
    clusters that differ, else from 10,000 drawn signs, where p is never below 1 in 10,001 (Fisher's
    randomisation test; Phipson & Smyth 2010, arXiv 1603.05766, for the count of what was found).
    """
    moved = np.asarray(differences, np.float64)
    moved = moved[moved != 0]
    if not len(moved):
        return 1.0
    # Sums of the same numbers in another order differ in the last place.
    found = abs(float(moved.sum())) * (1 - 1e-12)
    if len(moved) <= _EVERY_SIGN:
        places = np.arange(2 ** len(moved))[:, np.newaxis]
        signs = 1.0 - 2.0 * ((places >> np.arange(len(moved))) & 1)
        return float((np.abs(signs @ moved) >= found).mean())
    rng = np.random.default_rng(seed)
    as_far = 0
    for _ in range(10):  # in tenths, which bounds the memory
        signs = 1.0 - 2.0 * rng.integers(0, 2, (_SIGNS // 10, len(moved)))
        as_far += int((np.abs(signs @ moved) >= found).sum())
    return (as_far + 1) / (_SIGNS + 1)
