"""Bootstrap intervals over examples, for statistics that have no formula: F1, Spearman's rho, ...

For labelled examples, which are independent of each other. Not for latencies of one process, which
are not (`bench.stats.interval`).

A statistic is a function of one or more arrays with a leading axis of resamples: each array comes
as (resamples, n, ...) and the result has shape (resamples,). ``numpy.random.Generator`` seeds make
each interval reproducible. Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap",
chapters 13 (percentile) and 14 (BCa).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from bench.arrays import Array
from bench.stats.interval import Interval, check_confidence

Statistic = Callable[..., Array]

RESAMPLES = 2000  #: Efron & Tibshirani 1993, chapter 14.3: at least 1000 for a BCa interval
#: indices drawn at a time: bounds the memory, about 30 MB an array of 8-byte examples
INDICES_AT_A_TIME = 4_000_000
#: groups left out in turn for BCa's acceleration; each example is its own group up to so many
JACKKNIFE_GROUPS = 400


def percentile_interval(
    examples: Sequence[Array],
    statistic: Statistic,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The percentile interval of ``statistic(*examples)``.

    ``examples`` are arrays that share their first axis, of n >= 2 examples. Raises `ValueError` for
    other shapes, or where the statistic is not finite on a resample.
    """
    n = _count(examples, confidence, resamples)
    replicas = _replicas(examples, statistic, n, seed, resamples)
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    return _interval(_whole(examples, statistic), replicas, tails, confidence)


def bca_interval(
    examples: Sequence[Array],
    statistic: Statistic,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The bias-corrected and accelerated interval of ``statistic(*examples)``.

    Shapes and errors as `percentile_interval`; nearer to the stated coverage where the statistic is
    skewed. Where all resamples agree the interval has no width.
    """
    n = _count(examples, confidence, resamples)
    replicas = _replicas(examples, statistic, n, seed, resamples)
    estimate = _whole(examples, statistic)
    bias = _bias(replicas, estimate)
    acceleration = _acceleration(examples, statistic, n)
    quantiles = ndtri(np.array([(1 - confidence) / 2, (1 + confidence) / 2]))
    shifted = bias + quantiles
    # A denominator at or below 0 means an acceleration beyond what the expansion can bear.
    tails = ndtr(bias + shifted / np.maximum(1 - acceleration * shifted, 1e-3))
    return _interval(estimate, replicas, tails, confidence)


def paired_bca_interval(
    first: Sequence[Array],
    second: Sequence[Array],
    statistic: Statistic,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """BCa interval of ``statistic(*second) - statistic(*first)``, resampling the same examples.

    ``first`` and ``second`` are two models' arrays over the same examples, in the same order: what
    makes an example hard for both cancels. Errors as `percentile_interval`.
    """
    split = len(first)

    def difference(*arrays: Array) -> Array:
        after, before = statistic(*arrays[split:]), statistic(*arrays[:split])
        return np.subtract(after, before)

    return bca_interval([*first, *second], difference, confidence, seed, resamples)


def _count(examples: Sequence[Array], confidence: float, resamples: int) -> int:
    check_confidence(confidence)
    if resamples < 1:
        raise ValueError(f"at least one resample is needed, not {resamples}")
    sizes = {np.shape(array)[0] if np.ndim(array) else 0 for array in examples}
    if len(sizes) != 1 or min(sizes) < 2:
        raise ValueError(
            f"the arrays must share a first axis of at least 2 examples, not {sorted(sizes)}"
        )
    return int(sizes.pop())


def _index_batches(n: int, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    rows = max(1, INDICES_AT_A_TIME // n)
    for start in range(0, resamples, rows):
        yield generator.integers(0, n, (min(rows, resamples - start), n))


def _replicas(
    examples: Sequence[Array], statistic: Statistic, n: int, seed: int, resamples: int
) -> NDArray[np.float64]:
    batches = (
        _values(statistic, [np.asarray(array)[index] for array in examples], len(index))
        for index in _index_batches(n, seed, resamples)
    )
    return np.concatenate(list(batches))


def _whole(examples: Sequence[Array], statistic: Statistic) -> float:
    return float(_values(statistic, [np.asarray(array)[np.newaxis] for array in examples], 1)[0])


def _values(statistic: Statistic, arrays: list[Array], rows: int) -> NDArray[np.float64]:
    values = np.asarray(statistic(*arrays), dtype=np.float64)
    if values.shape != (rows,):
        raise ValueError(
            f"the statistic must give one value a resample, shape {(rows,)}, not {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError("the statistic is not finite on every resample; use more examples")
    return values


def _bias(replicas: NDArray[np.float64], estimate: float) -> float:
    """BCa's z0: the normal quantile of the share of replicas below the estimate, ties by half."""
    below = float((replicas < estimate).sum() + 0.5 * (replicas == estimate).sum())
    # Half a replica from the ends keeps the quantile finite.
    share = min(max(below, 0.5), replicas.size - 0.5) / replicas.size
    return float(ndtri(share))


def _acceleration(examples: Sequence[Array], statistic: Statistic, n: int) -> float:
    """BCa's a: the skewness of the jackknife values over 6, by groups where n is large."""
    groups = np.array_split(np.arange(n), min(n, JACKKNIFE_GROUPS))
    values = np.array(
        [
            _whole([np.delete(np.asarray(array), group, axis=0) for array in examples], statistic)
            for group in groups
        ]
    )
    deviations = values.mean() - values
    squares = float((deviations**2).sum())
    return float((deviations**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0


def _interval(
    estimate: float, replicas: NDArray[np.float64], tails: NDArray[np.float64], confidence: float
) -> Interval:
    low, high = (float(q) for q in np.quantile(replicas, tails))
    return Interval(estimate, low, high, confidence)
