"""Intervals and tests for accuracies: shares of labelled examples that a model gets right.

Examples are independent of each other, so these are binomial. Two models scored on the *same*
examples are paired, and the 2 x 2 table of who was right says it all:

====================  ================  ================
                      second is right   second is wrong
====================  ================  ================
first is right        both              only_first (b)
first is wrong        only_second (c)   neither
====================  ================  ================
"""

from __future__ import annotations

import math
from collections.abc import Callable

from bench.defaults import CONFIDENCE
from bench.stats.distributions import beta, binomial, normal
from bench.stats.interval import Interval, check_confidence


def clopper_pearson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The exact interval of a share: coverage is never below ``confidence``, for any n >= 1.

    Clopper & Pearson 1934, Biometrika 26:404, by beta quantiles. Raises `ValueError` unless
    0 <= successes <= n.
    """
    check_confidence(confidence)
    _check_counts(successes=successes, n=n)
    if n < 1 or successes > n:
        raise ValueError(f"{successes} successes in {n} trials")
    tail = (1 - confidence) / 2
    failures = n - successes
    low = 0.0 if successes == 0 else beta.quantile(successes, failures + 1, tail)
    high = 1.0 if failures == 0 else beta.quantile(successes + 1, failures, 1 - tail)
    return Interval(successes / n, low, high, confidence)


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided exact p-value of "both models are equally often right", from the discordant counts.

    ``b`` examples only the first has right, ``c`` only the second; p = 1 where both are 0. McNemar
    1947, Psychometrika 12:153; the exact form is the binomial test of b in b + c at 1/2.
    """
    _check_counts(b=b, c=c)
    return min(1.0, 2 * binomial.at_most(min(b, c), b + c, 0.5))


def paired_difference_interval(b: int, c: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Share right of the second model minus that of the first, on the same ``n`` examples.

    ``b`` examples only the first has right, ``c`` only the second: the estimate is (c - b) / n, so
    a loss is negative. Tango's score interval (1998, Statistics in Medicine 17:891): it holds
    its coverage where few examples or none are discordant, and excludes 0 exactly when
    McNemar's uncorrected score |b - c| / sqrt(b + c) exceeds the normal quantile. Raises
    `ValueError` unless b + c <= n, n >= 1.
    """
    check_confidence(confidence)
    _check_counts(b=b, c=c, n=n)
    if n < 1 or b + c > n:
        raise ValueError(f"{b} + {c} discordant examples among {n}")
    quantile = normal.quantile(0.5 + confidence / 2)
    estimate = (c - b) / n
    low = _crossing(lambda d: _tango_score(b, c, n, d) <= quantile, -1.0, estimate)
    high = _crossing(lambda d: _tango_score(b, c, n, d) < -quantile, estimate, 1.0)
    return Interval(estimate, min(low, estimate), max(high, estimate), confidence)


def p_of_worse(b: int, c: int, n: int, margin: float) -> float:
    """One-sided p-value of "the second model's share right is no more than ``margin`` below that of
    the first": the smallest level at which `paired_difference_interval` lies below -margin.

    By the score that the interval inverts, at the normal. Raises `ValueError` as that does.
    """
    _check_counts(b=b, c=c, n=n)
    if n < 1 or b + c > n:
        raise ValueError(f"{b} + {c} discordant examples among {n}")
    return normal.below(_tango_score(b, c, n, -margin))


def retention_interval(
    both: int, only_first: int, only_second: int, confidence: float = CONFIDENCE
) -> Interval:
    """Accuracy retained: share right of the second model over that of the first, same examples.

    Examples that neither has right cancel. Bonett & Price 2006 (Statistics in Medicine 25:3039):
    two Wilson intervals combined, with the log-ratio variance of paired proportions,
    (b + c) / ((both + b)(both + c)), each count raised so that it exists at 0 too. Raises
    `ValueError` where the first model has nothing right: then there is nothing to retain.
    """
    check_confidence(confidence)
    _check_counts(both=both, only_first=only_first, only_second=only_second)
    first, second = both + only_first, both + only_second
    if first == 0:
        raise ValueError("the first model has no correct example, so there is nothing to retain")
    n = both + only_first + only_second
    share_first, share_second = (first + 1) / (n + 2), (second + 1) / (n + 2)
    joint = math.sqrt((only_first + only_second + 2) / ((first + 1) * (second + 1)))
    apart = math.sqrt((1 - share_first) / (first + 1)) + math.sqrt(
        (1 - share_second) / (second + 1)
    )
    quantile = normal.quantile(0.5 + confidence / 2) * joint / apart
    first_low, first_high = _wilson(first, n, quantile)
    second_low, second_high = _wilson(second, n, quantile)
    high = second_high / first_low if first_low > 0 else math.inf
    return Interval(second / first, second_low / first_high, high, confidence)


def _wilson(successes: int, n: int, quantile: float) -> tuple[float, float]:
    """Wilson's score interval (1927, JASA 22:209) at a normal quantile."""
    square = quantile**2
    centre = (2 * successes + square) / (2 * (n + square))
    reach = quantile * math.sqrt(square + 4 * successes * (1 - successes / n)) / (2 * (n + square))
    low = 0.0 if successes == 0 else max(0.0, centre - reach)
    high = 1.0 if successes == n else min(1.0, centre + reach)
    return low, high


def _tango_score(b: int, c: int, n: int, difference: float) -> float:
    """How many deviations (c - b) / n lies above ``difference``; falls as that grows."""
    first = 2 * n
    second = -b - c + (2 * n - (c - b)) * difference
    third = -b * difference * (1 - difference)
    # Share of "only first" that is likeliest under this difference: the root of a quadratic.
    share = (math.sqrt(max(0.0, second**2 - 4 * first * third)) - second) / (2 * first)
    variance = n * (2 * share + difference * (1 - difference))
    excess = (c - b) - n * difference
    if variance <= 0:
        return math.copysign(math.inf, excess) if excess else 0.0
    return excess / math.sqrt(variance)


def _crossing(beyond: Callable[[float], bool], low: float, high: float) -> float:
    """Where a predicate that is false at ``low`` and true at ``high`` turns, by bisection."""
    for _ in range(60):  # 2 * 2**-60 is below the spacing of floats near 1
        middle = (low + high) / 2
        if beyond(middle):
            high = middle
        else:
            low = middle
    return (low + high) / 2


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"{name} is a count and can't be {count}")
