"""Equivalence: is a difference within a margin, beyond it, or not decided yet, and how many more
examples would decide?

Two one-sided tests (Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15:657): at
level alpha two things are equivalent where the interval of their difference at confidence
1 - 2 alpha lies inside the margin; each of the two errors is then at most alpha.
"""

from __future__ import annotations

import math
from typing import Literal

from bench.stats.interval import Interval
from bench.stats.proportion import paired_difference_interval

Standing = Literal["equivalent", "better", "worse", "undecided"]
#: Beyond so many times the examples at hand, and so many examples, no number is told: what is known
#: of the difference is too little to plan with.
MOST_TIMES = 1000
MOST = 1_000_000


def two_one_sided(confidence: float) -> float:
    """The confidence of the interval that two one-sided tests at level 1 - ``confidence`` take."""
    return 2 * confidence - 1


def standing(gain: Interval, margin: float) -> Standing:
    """What an interval says of a difference that is better above 0.

    ``better`` and ``worse`` are surely beyond the margin, which is above 0.
    """
    if not margin > 0:
        raise ValueError(f"a margin must be above 0, not {margin}")
    if -margin < gain.low and gain.high < margin:
        return "equivalent"
    if gain.low >= margin:
        return "better"
    return "worse" if gain.high <= -margin else "undecided"


def needed_of_proportions(
    lost: int, gained: int, examples: int, margin: float, confidence: float
) -> int | None:
    """How many examples would decide, were further ones like these: the fewest for which the
    interval of `bench.stats.proportion.paired_difference_interval`, with the counts in proportion,
    no longer holds -margin or margin.

    None where `MOST` or `MOST_TIMES` as many would not. Raises `ValueError` for no examples.
    """
    if examples < 1:
        raise ValueError("a plan needs at least one example")

    def decided(n: int) -> bool:
        share = n / examples
        found = paired_difference_interval(
            round(lost * share), round(gained * share), n, two_one_sided(confidence)
        )
        return standing(found, margin) != "undecided"

    low, high = 0, examples
    while not decided(high):
        low, high = high, high * 2
        if high > max(MOST, MOST_TIMES * examples):
            return None
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high


def needed_of_means(gain: Interval, count: int, margin: float) -> int | None:
    """The same of a mean's interval over ``count`` clusters, whose width falls with the square root
    of their number. None where the estimate lies so near the margin that `MOST_TIMES` as many would
    not decide."""
    reach = gain.half_width
    room = abs(abs(gain.estimate) - margin)
    if reach <= 0:
        return count
    if room <= 0 or (reach / room) ** 2 > MOST_TIMES:
        return None
    return max(count, math.ceil(count * (reach / room) ** 2))
