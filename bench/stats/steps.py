"""Where a series of results stepped: binary segmentation, each split tested by permutation.

The split of a segment is where the weighted means of its two sides differ most for what they weigh
(the CUSUM statistic: Page 1954, Biometrika 41:100; binary segmentation: Scott & Knott 1974,
Biometrics 30:507). Whether it is one is asked as E-divisive does (Matteson & James 2014, Journal of
the American Statistical Association 109:334): were there no step, every order of the same runs
would be equally likely, so the split counts if few random orders have one as large. Both sides of
an established step are then looked at in the same way. Where nothing ever stepped, the chance of
even one false step is that of the first test.

Two more things have to hold, because an order can be unlikely and a step still not be: the runs'
own intervals must not explain it (a z-test from their standard errors), and it must exceed a
margin. Runs whose interval is wide count less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.defaults import CONFIDENCE
from bench.stats.distributions import normal

Floats = NDArray[np.float64]

#: One deviating run is an outlier, whatever it is: a step has as many runs on either side.
FEWEST_RUNS = 2
#: Random orders for a test at 5%; more where the test is stricter, so that p can get small enough.
ORDERS = 999
MOST_ORDERS = 19_999
#: so many numbers are permuted at once, to bound memory
_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Step:
    """Run ``index`` is the first after the step; ``log_ratio`` is after over before, weighted."""

    index: int
    log_ratio: float
    p: float


def find_steps(
    values: Sequence[float] | NDArray[Any],
    log_errors: Sequence[float] | NDArray[Any] | None = None,
    confidence: float = CONFIDENCE,
    margin: float = 0.0,
    seed: int = 1,
) -> list[Step]:
    """The established steps in one value a run, in the order of the runs.

    ``values`` has shape (runs,), finite and positive; ``log_errors`` are the standard errors of
    their logarithms (NaN: not known), as from `log_error`. ``margin`` is a share: a step by less is
    left out. The same input gives the same answer. Raises `ValueError` for other values.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError("values must be finite and positive, one per run")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    errors = np.full(array.shape, np.nan) if log_errors is None else np.asarray(log_errors, float)
    if errors.shape != array.shape:
        raise ValueError("there must be one error per value")
    return _Search(np.log(array), errors, 1 - confidence, math.log1p(margin), seed).steps()


def fewest_runs(confidence: float) -> int:
    """The fewest runs in which the clearest step, in the middle, can be established: 8 at 95%.

    Of n runs C(n, n // 2) choices go before the step, and the observed one and its mirror image are
    the least that can be as large.
    """
    runs = 2 * FEWEST_RUNS
    while 2 / math.comb(runs, runs // 2) > 1 - confidence:
        runs += 1
    return runs


def log_error(low: float | None, high: float | None, confidence: float) -> float:
    """The standard error of a value's logarithm that its interval stands for; NaN without one.

    The normal quantile makes it a little larger than the t-interval's own: that errs on the side
    of no step.
    """
    if low is None or high is None or not 0 < low <= high < math.inf:
        return math.nan
    return math.log(high / low) / (2 * normal.quantile(0.5 + confidence / 2))


@dataclass(frozen=True)
class _Search:
    logs: Floats
    errors: Floats
    alpha: float
    least: float  #: logarithm of the smallest ratio that counts
    seed: int

    def steps(self) -> list[Step]:
        bounds = self._splits(0, len(self.logs))
        if not bounds:
            return []
        weights = _weights(self.errors)
        edges = [0, *(index for index, _ in bounds), len(self.logs)]
        means = [
            float(np.average(self.logs[a:b], weights=weights[a:b])) for a, b in pairwise(edges)
        ]
        return [
            Step(index, means[place + 1] - means[place], p)
            for place, (index, p) in enumerate(bounds)
        ]

    def _splits(self, start: int, stop: int) -> list[tuple[int, float]]:
        """The steps between two runs with their p-values, in order; a stack of segments, because
        a long series may have many."""
        found: list[tuple[int, float]] = []
        waiting = [(start, stop)]
        while waiting:
            start, stop = waiting.pop()
            split = self._split(start, stop)
            if split is not None:
                index = start + split[0]
                found.append((index, split[1]))
                waiting += [(start, index), (index, stop)]
        return sorted(found)

    def _split(self, start: int, stop: int) -> tuple[int, float] | None:
        """The step of one segment and its p-value; None where none is established."""
        if stop - start < fewest_runs(1 - self.alpha):
            return None
        logs, errors = self.logs[start:stop], self.errors[start:stop]
        weights = _weights(errors)
        statistic = _cusum(logs[None, :], weights[None, :])[0]
        place = int(np.argmax(statistic)) + FEWEST_RUNS
        before, after = (
            np.average(part, weights=weight)
            for part, weight in (
                (logs[:place], weights[:place]),
                (logs[place:], weights[place:]),
            )
        )
        size = abs(float(after - before))
        if size <= self.least or size <= self._explained(errors, place):
            return None
        p = _p_value(logs, weights, float(statistic.max()), self.alpha, self.seed)
        return (place, p) if p <= self.alpha else None

    def _explained(self, errors: Floats, place: int) -> float:
        """The largest difference of the sides that the runs' own errors make likely."""
        variances = [_variance_of_mean(part) for part in (errors[:place], errors[place:])]
        return -normal.quantile(self.alpha / 2) * math.sqrt(sum(variances))


def _variance_of_mean(errors: Floats) -> float:
    """Of the inverse-variance weighted mean; runs without a known error don't help."""
    known = errors[np.isfinite(errors) & (errors > 0)]
    return float(1 / np.sum(known**-2.0)) if known.size else 0.0


def _weights(errors: Floats) -> Floats:
    """A run of twice the usual error counts less, one of half of it hardly more: what differs
    between runs besides their errors is taken to be as large as the median error."""
    known = errors[np.isfinite(errors)]
    usual = float(np.median(known)) if known.size else 0.0
    if usual == 0:
        return np.ones_like(errors)
    own = np.where(np.isfinite(errors), errors, usual)
    weights: Floats = 2 * usual**2 / (own**2 + usual**2)
    return weights


def _cusum(logs: Floats, weights: Floats) -> Floats:
    """For each row and each split that leaves `FEWEST_RUNS` on both sides: how far the means of
    the sides differ, times the root of what they weigh. Shapes (rows, runs) to (rows, splits)."""
    total = weights.sum(axis=1, keepdims=True)
    centred = logs - (logs * weights).sum(axis=1, keepdims=True) / total
    splits = slice(FEWEST_RUNS - 1, -FEWEST_RUNS)
    left = np.cumsum(weights, axis=1)[:, splits]
    pull = np.cumsum(centred * weights, axis=1)[:, splits]
    result: Floats = np.abs(pull) * np.sqrt(total / (left * (total - left)))
    return result


def _p_value(logs: Floats, weights: Floats, observed: float, alpha: float, seed: int) -> float:
    """The share of orders with a split as large, the observed one among them."""
    orders = int(min(MOST_ORDERS, max(ORDERS, math.ceil(50 / alpha) - 1)))
    rng = np.random.default_rng(seed)
    # Rounding must not make an order that is the same in the end look smaller.
    bar = observed * (1 - 1e-9)
    as_large, done = 0, 0
    while done < orders:
        rows = min(orders - done, max(1, _AT_ONCE // logs.size))
        order = np.argsort(rng.random((rows, logs.size)), axis=1)
        as_large += int((_cusum(logs[order], weights[order]).max(axis=1) >= bar).sum())
        done += rows
    return (1 + as_large) / (1 + orders)
