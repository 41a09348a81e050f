"""Quantiles of Student's t distribution, from the beta distribution (DLMF 8.17, and Abramowitz &
Stegun 26.7.1): t^2 / (freedom + t^2) has it, with parameters 1/2 and freedom / 2."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.stats.distributions import normal
from bench.stats.distributions.beta import log_lower_tail
from bench.stats.distributions.newton import log_solution

#: From so many degrees of freedom on, the second term of `_nearly_normal` is below rounding.
_NEARLY_NORMAL = 1e10


@lru_cache(maxsize=4096)
def quantile(freedom: float, share: float) -> float:
    """Where ``share`` lies below, for degrees of freedom from 1 to infinity, whole or not.

    A tail is 0, which gives an infinity, or at least 1e-100; what is no share gives NaN.
    """
    if not freedom >= 1:
        raise ValueError(f"quantiles are known from 1 degree of freedom up, not {freedom}")
    tail = min(share, 1 - share)
    if not tail > 0 or freedom > _NEARLY_NORMAL:
        return _nearly_normal(freedom, share)
    if tail == 0.5:
        return 0.0
    return math.copysign(_distance(freedom, tail), share - 0.5)


def quantiles(freedoms: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The same for many degrees of freedom, most of which are alike."""
    different, places = np.unique(freedoms, return_inverse=True)
    found = np.array([quantile(freedom, share) for freedom in different.tolist()])
    return found[places]


def _distance(freedom: float, tail: float) -> float:
    """How far from 0 a tail below 1/2 begins."""
    half = freedom / 2

    def of_tails(log_t: float) -> tuple[float, float]:
        value, slope = log_lower_tail(half, 0.5, *_split(freedom, log_t))
        return value, -2 * slope

    def of_centre(log_t: float) -> tuple[float, float]:
        x, y = _split(freedom, log_t)
        value, slope = log_lower_tail(0.5, half, y, x)
        return value, 2 * slope

    start = _about(freedom, tail)
    # On the smaller part, so that it keeps its digits.
    if tail < 0.25:
        return math.exp(log_solution(of_tails, 2 * tail, start))
    return math.exp(log_solution(of_centre, 1 - 2 * tail, start))


def _split(freedom: float, log_t: float) -> tuple[float, float]:
    """freedom / (freedom + t^2) and t^2 / (freedom + t^2)."""
    ratio = math.exp(2 * log_t) / freedom
    return 1 / (1 + ratio), ratio / (1 + ratio)


def _about(freedom: float, tail: float) -> float:
    """log t, roughly: Wallace 1959 (Annals of Mathematical Statistics 30:1124)."""
    z = normal.quantile(tail) * (8 * freedom + 3) / (8 * freedom + 1)
    return math.log(freedom * math.expm1(min(600.0, z * z / freedom))) / 2


def _nearly_normal(freedom: float, share: float) -> float:
    """The normal quantile and the first term of Cornish & Fisher (Abramowitz & Stegun 26.7.5)."""
    z = normal.quantile(share)
    return z if math.isinf(z) else z + (z**3 + z) / (4 * freedom)
