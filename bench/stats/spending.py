"""How sure each look must be, so that stopping at will keeps the confidence that was stated.

Who looks at an interval after every generation and stops when it pleases gets many chances to be
wrong; 95% at each of 7 looks is about 84% over all. The remedy is a higher confidence at each
look, such that *all* looks' intervals contain the truth together with the stated probability.
Then any rule may stop the measuring: a narrow interval, a settled order, an empty budget.

`repeated_confidence` computes it for looks at growing data, which agree with each other: with seven
looks from 5 to 40 invocations each is at 98.9%. Bonferroni's inequality, which assumes nothing,
would have each at 99.3%.

Few looks cost little, so let them be spaced geometrically (`geometric_looks`): the interval
narrows with the square root of the invocations, and a look after every one of them is wasted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.defaults import CONFIDENCE
from bench.stats.distributions import student
from bench.stats.interval import FEWEST_INVOCATIONS, check_confidence
from bench.stats.multiple import simultaneous_confidence

#: histories simulated by `repeated_confidence`: the alpha spent is then known within 0.0006 (one
#: standard deviation, sqrt(0.05 * 0.95 / histories)) at 95%
HISTORIES = 120_000
#: the seed of that simulation, so that the same plan always gets the same confidence
SEED = 1969


def repeated_confidence(invocations: Sequence[int], confidence: float = CONFIDENCE) -> float:
    """The confidence for the t-interval at every look, so that all hold together.

    ``invocations`` are the numbers of values at the planned looks, rising, the first >= 2. This is
    the constant boundary of Pocock (1977, Biometrika 64:191) after the repeated significance tests
    of Armitage, McPherson & Rowe (1969, JRSS A 132:235), for Student's t: with independent normal
    log-ratios the joint distribution of the t statistics depends on ``invocations`` alone, so it
    is simulated, with a fixed seed. The result lies between ``confidence`` and that of Bonferroni's
    inequality (`simultaneous_confidence`). Takes 0.1 s, once per plan. Raises `ValueError` for
    other numbers.
    """
    check_confidence(confidence)
    sizes = tuple(int(n) for n in invocations)
    if not sizes or sizes[0] < FEWEST_INVOCATIONS or list(sizes) != sorted(set(sizes)):
        raise ValueError(
            f"looks need rising numbers of invocations, from {FEWEST_INVOCATIONS} on, not {sizes}"
        )
    return _repeated_confidence(sizes, confidence)


def geometric_looks(first: int, last: int, growth: float = math.sqrt(2)) -> list[int]:
    """Numbers of invocations to look at, each ``growth`` times the one before, ending at ``last``.

    From 5 to 40 by the default: 5, 7, 10, 14, 20, 28, 40. Raises `ValueError` unless
    2 <= first <= last and growth > 1.
    """
    if not FEWEST_INVOCATIONS <= first <= last or not growth > 1:
        raise ValueError(f"no looks from {first} to {last} invocations by a factor of {growth}")
    # Where rounding misses the last step, that is ``last`` itself.
    steps = math.floor(math.log(last / first) / math.log(growth))
    return sorted({last, *(round(first * growth**step) for step in range(steps + 1))})


@lru_cache(maxsize=64)
def _repeated_confidence(sizes: tuple[int, ...], confidence: float) -> float:
    if len(sizes) == 1:
        return confidence
    statistics = _t_histories(sizes)
    low, high = confidence, simultaneous_confidence(len(sizes), confidence)
    for _ in range(20):  # to a millionth of the span between the two
        middle = (low + high) / 2
        if _coverage(statistics, sizes, middle) >= confidence:
            high = middle
        else:
            low = middle
    return high


def _t_histories(sizes: tuple[int, ...]) -> NDArray[np.float64]:
    """|t| at each look of simulated histories, shape (looks, histories).

    Only sums at the looks are drawn: of m new standard normal values the sum is normal with
    variance m, and the squares about their own mean are chi-squared with m - 1 degrees.
    """
    generator = np.random.default_rng(SEED)
    statistics = np.empty((len(sizes), HISTORIES))
    count = 0
    mean = np.zeros(HISTORIES)
    squares = np.zeros(HISTORIES)
    for row, size in zip(statistics, sizes, strict=True):
        new = size - count
        new_mean = generator.standard_normal(HISTORIES) / math.sqrt(new)
        # Chan, Golub & LeVeque 1983: sums of squares of two groups combined.
        squares += (new_mean - mean) ** 2 * (count * new / size)
        if new > 1:
            squares += generator.chisquare(new - 1, HISTORIES)
        mean += (new_mean - mean) * (new / size)
        count = size
        row[:] = np.abs(mean) / np.sqrt(squares / (size - 1) / size)
    return statistics


def _coverage(statistics: NDArray[np.float64], sizes: tuple[int, ...], confidence: float) -> float:
    """The share of histories whose intervals contain the truth at every look."""
    limits = np.array([student.quantile(n - 1, 0.5 + confidence / 2) for n in sizes])
    return float((statistics <= limits[:, np.newaxis]).all(axis=0).mean())
