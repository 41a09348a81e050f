"""The standard normal distribution."""

from __future__ import annotations

import math
from statistics import NormalDist

_STANDARD = NormalDist()


def below(x: float) -> float:
    """The chance of a value up to ``x``; small chances keep their digits, by erfc (DLMF 7.2.2)."""
    return math.erfc(-x / math.sqrt(2)) / 2


def quantile(share: float) -> float:
    """Where ``share`` lies below: Wichura's AS 241 (1988, Applied Statistics 37:477).

    0 and 1 give the infinities, what is no share NaN.
    """
    if 0 < share < 1:
        return _STANDARD.inv_cdf(share)
    if share in (0, 1):
        return math.copysign(math.inf, share - 0.5)
    return math.nan
