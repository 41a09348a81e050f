"""The logarithm of one term of the binomial distribution, also of counts that are not whole.

The logarithms of factorials of a million are of the size of 10^7, so their difference has lost
seven digits. Loader 2000, "Fast and accurate computation of binomial probabilities", takes the
large parts apart from the small ones, and only the small ones are computed.
"""

from __future__ import annotations

import math

#: From here on the series of `_stirling_error` is right to the last digit.
_LARGE = 10.0
#: B_2k / (2k (2k - 1)), DLMF 5.11.1.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_HALF_LOG_2PI = math.log(2 * math.pi) / 2
#: Below this share of its size a difference is small: Loader's choice.
_NEAR = 0.1
#: Then the terms of its series are below rounding from here on.
_MOST_ODD = 21


def log_binomial_term(a: float, b: float, x: float, y: float) -> float:
    """log of Gamma(a + b + 1) / (Gamma(a + 1) Gamma(b + 1)) x^a y^b, for a, b >= 0, 0 < x < 1.

    That is the chance of a successes in a + b trials that succeed with chance x. The caller gives
    ``y`` = 1 - x, so that it keeps its digits where x is nearly 1.
    """
    n = a + b
    if not a or not b:
        return a * _log(x, y) + b * _log(y, x)
    error = _stirling_error(n) - _stirling_error(a) - _stirling_error(b)
    apart = _deviance(a, n * x) + _deviance(b, n * y)
    return math.log(n / (2 * math.pi * a * b)) / 2 + error - apart


def _log(x: float, rest: float) -> float:
    """log x, where ``rest`` is 1 - x and may have more digits."""
    return math.log1p(-rest) if rest < 0.5 else math.log(x)


def _stirling_error(x: float) -> float:
    """log Gamma(x + 1) less Stirling's formula for it (Loader's delta)."""
    if x < _LARGE:
        return math.lgamma(x + 1) - (x + 0.5) * math.log(x) + x - _HALF_LOG_2PI
    square, found = 1 / x**2, 0.0
    for coefficient in reversed(_STIRLING):
        found = found * square + coefficient
    return found / x


def _deviance(count: float, expected: float) -> float:
    """count log(count / expected) + expected - count (Loader's bd0)."""
    if expected == 0:
        return math.inf
    difference = count - expected
    if abs(difference) >= _NEAR * (count + expected):
        return count * math.log(count / expected) - difference
    # log of the ratio is 2 artanh(share), whose first term cancels against the difference.
    share = difference / (count + expected)
    total, power = difference * share, 2 * count * share
    for odd in range(3, _MOST_ODD, 2):
        power *= share * share
        if total + power / odd == total:
            break
        total += power / odd
    return total
