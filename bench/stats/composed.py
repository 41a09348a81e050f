"""Intervals of sums and quotients of independent estimates, from the intervals of their parts.

Each part's own distances to its bounds are added in quadrature (MOVER: Zou & Donner 2008,
Statistics in Medicine 27:1693; for quotients on logarithms, Donner & Zou 2012, Statistical Methods
in Medical Research 21:347). So a part whose interval is lopsided leaves that in the whole, and
nothing has to be known of the samples behind it. Two that rise and fall together make the interval
of their quotient too wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.stats.interval import Interval, exp


def weighted_sum(terms: Sequence[tuple[float, Interval]]) -> Interval:
    """The sum of ``weight * value``, weights of 0 or above, all at one confidence."""
    if not terms or any(weight < 0 for weight, _ in terms):
        raise ValueError("a sum needs a term, and weights of 0 or above")
    estimate = sum(weight * part.estimate for weight, part in terms)
    below = math.hypot(*(weight * (part.estimate - part.low) for weight, part in terms))
    above = math.hypot(*(weight * (part.high - part.estimate) for weight, part in terms))
    return Interval(estimate, estimate - below, estimate + above, terms[0][1].confidence)


def quotient(over: Interval, under: Interval) -> Interval:
    """``over / under`` of two positive quantities."""
    return product(over, under.inverse())


def product(one: Interval, other: Interval) -> Interval:
    """``one * other`` of two positive quantities."""
    if min(one.estimate, other.estimate) <= 0:
        raise ValueError("only positive quantities have a product with an interval")
    estimate = one.estimate * other.estimate
    below = math.hypot(*(_log(part.estimate) - _log(part.low) for part in (one, other)))
    above = math.hypot(*(_log(part.high) - _log(part.estimate) for part in (one, other)))
    return Interval(estimate, estimate * exp(-below), estimate * exp(above), one.confidence)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
