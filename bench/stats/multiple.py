"""Many comparisons at once: how to keep one false alarm from being a certainty.

With 20 comparisons at 95% one false alarm is expected. Tests are corrected by Holm's procedure,
which assumes nothing about how they depend on each other and loses less than Bonferroni's;
intervals that must hold *together* (all pairs of a ranking) are each made wider by Bonferroni's
inequality, because Holm's steps decide tests and give no two-sided intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.defaults import CONFIDENCE
from bench.stats.interval import check_confidence


def holm_adjusted(p_values: Sequence[float] | NDArray[Any]) -> NDArray[np.float64]:
    """Holm-adjusted p-values, shape (m,), in the order given: reject where one is <= alpha.

    Holm 1979, Scandinavian Journal of Statistics 6:65: the i-th smallest of m is multiplied by
    m - i + 1, then never less than one before it, then at most 1. The chance of any false
    rejection is at most alpha, however the tests depend on each other. No p-values give none;
    raises `ValueError` for values outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must be a list of numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    factors = np.arange(p.size, 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted


def simultaneous_confidence(intervals: int, confidence: float = CONFIDENCE) -> float:
    """The confidence of each of so many intervals that all hold together at ``confidence``.

    Bonferroni's inequality (Dunn 1961, JASA 56:52): 1 - alpha / intervals, whatever their
    dependence. Combine it with looks (`bench.stats.spending`) by passing this result on as
    their confidence. Raises `ValueError` for fewer than one interval.
    """
    check_confidence(confidence)
    if intervals < 1:
        raise ValueError(f"at least one interval must hold, not {intervals}")
    return 1 - (1 - confidence) / intervals


def pairwise_comparisons(n: int) -> int:
    """How many pairs ``n`` things have, which is how many intervals a full ranking needs."""
    return n * (n - 1) // 2
