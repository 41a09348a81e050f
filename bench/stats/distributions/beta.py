"""The beta distribution: the regularised incomplete beta function I_x(a, b) and its inverse."""

from __future__ import annotations

import math
from functools import lru_cache

from bench.stats.distributions import normal
from bench.stats.distributions.binomial_term import log_binomial_term
from bench.stats.distributions.newton import log_solution

#: Two convergents that differ by no more are the same but for rounding.
_SAME = 4.5e-16
#: Of ten million counts near their mean it takes a thousand.
_MOST_TERMS = 100_000


def below(a: float, b: float, x: float) -> float:
    """I_x(a, b): the chance of a value up to ``x``, for a, b > 0 and x from 0 to 1."""
    return lower_tail(a, b, x, 1 - x) if 0 < x < 1 else _end(x)


@lru_cache(maxsize=4096)
def quantile(a: float, b: float, share: float) -> float:
    """Where ``share`` lies below, for a, b >= 1: 0 at 0, 1 at 1, NaN for what is no share.

    Found by Newton's method on logarithms, on the smaller tail and from the nearer end, so that
    small values and those of small tails keep their digits.
    """
    if min(a, b) < 1:
        raise ValueError(f"quantiles are known for a, b from 1 up, not {a} and {b}")
    if not 0 < share < 1:
        return _end(share)
    logit = _about(a, b, share)
    if logit <= 0:
        return _from_zero(a, b, share, 1 - share, -math.log1p(math.exp(-logit)))
    return 1 - _from_zero(b, a, 1 - share, share, -math.log1p(math.exp(logit)))


def lower_tail(a: float, b: float, x: float, y: float) -> float:
    """I_x(a, b), for y = 1 - x, both above 0."""
    return math.exp(log_lower_tail(a, b, x, y)[0])


def log_lower_tail(a: float, b: float, x: float, y: float) -> tuple[float, float]:
    """The logarithm of I_x(a, b), and its slope by log(x / y): what the weight x^a y^b / B(a, b) is
    of it. y = 1 - x, both above 0."""
    log_weight = log_binomial_term(a, b, x, y) + math.log(a * b / (a + b))
    # DLMF 8.17(v): the fraction converges fast below this, and with it the other tail's beyond.
    if x <= (a + 1) / (a + b + 2):
        slope = _fraction(a, b, x, y)
        return log_weight - math.log(slope), slope
    weight = math.exp(log_weight)
    rest = weight / _fraction(b, a, y, x)
    return math.log1p(-rest), weight / (1 - rest)


def _fraction(a: float, b: float, x: float, y: float) -> float:
    """The continued fraction by which the weight is divided: Didonato & Morris 1992 (ACM TOMS
    18:360, algorithm 708), the even part of DLMF 8.17.22, by Lentz's method (DLMF 3.10(iii))."""
    skew = a * y - b * x + 1
    found = c = a * skew / (a + 1)
    d = 0.0
    for m in range(1, _MOST_TERMS):
        middle = a + 2 * m
        share = m * (b - m) * x / (middle - 1)
        numerator = (a + m - 1) * (a + b + m - 1) * share * x / (middle - 1)
        denominator = m + share + (a + m) * (skew + m * (1 + y)) / (middle + 1)
        d = 1 / (denominator + numerator * d)
        c = denominator + numerator / c
        change = c * d
        found *= change
        if abs(change - 1) <= _SAME:
            break
    return found


def _from_zero(a: float, b: float, lower: float, upper: float, start: float) -> float:
    """The quantile by the logarithm of x; ``lower`` and ``upper`` are its tails, sum 1."""

    def of_lower(log_x: float) -> tuple[float, float]:
        x, y = math.exp(log_x), -math.expm1(log_x)
        value, slope = log_lower_tail(a, b, x, y)
        return value, slope / y

    def of_upper(log_x: float) -> tuple[float, float]:
        x, y = math.exp(log_x), -math.expm1(log_x)
        value, slope = log_lower_tail(b, a, y, x)
        return value, -slope / y

    if lower <= upper:
        return math.exp(log_solution(of_lower, lower, start))
    return math.exp(log_solution(of_upper, upper, start))


def _end(share: float) -> float:
    """0 and 1 are the least and the greatest both of values and of shares."""
    return float(share) if share in (0, 1) else math.nan


def _about(a: float, b: float, share: float) -> float:
    """log(x / (1 - x)) of the quantile, roughly: Abramowitz & Stegun 26.5.22."""
    z = -normal.quantile(share)
    first, second = 1 / (2 * a - 1), 1 / (2 * b - 1)
    mean = 2 / (first + second)
    bend = (z * z - 3) / 6
    w = z * math.sqrt(mean + bend) / mean
    w -= (second - first) * (bend + 5 / 6 - 2 / (3 * mean))
    return max(-600.0, min(600.0, math.log(a / b) - 2 * w))
