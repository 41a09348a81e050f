"""How sure each look must be, so that stopping at will keeps the confidence that was stated.

Who looks at an interval after every generation and stops when it pleases gets many chances to be
wrong; 95% at each of 7 looks is about 84% over all. The remedy is a higher confidence at each
look, such that *all* looks' intervals contain the truth together with the stated probability.
Then any rule may stop the measuring: a narrow interval, a settled order, an empty budget.

- `confidence_at_look`: Bonferroni over the planned looks. Assumes nothing; wider than needed, for
  looks at growing data agree with each other.
- `repeated_confidence`: the same confidence at each look, computed for looks at growing data. With
  seven looks from 5 to 40 invocations each is at 98.9% in place of 99.3%.

Few looks cost little, so let them be spaced geometrically (`geometric_looks`): the interval
narrows with the square root of the invocations, and a look after every one of them is wasted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from bench.stats.interval import FEWEST_INVOCATIONS, check_confidence

#: histories simulated by `repeated_confidence`: the alpha spent is then known within 0.0006 (one
#: standard deviation, sqrt(0.05 * 0.95 / histories)) at 95%
HISTORIES = 120_000
#: the seed of that simulation, so that the same plan always gets the same confidence
SEED = 1969


def confidence_at_look(look: int, planned_looks: int, confidence: float = 0.95) -> float:
    """The confidence of look number ``look`` (from 1) of ``planned_looks``: 1 - alpha / looks.

    By Bonferroni's inequality all looks hold together at ``confidence``, whatever the data. Raises
    `ValueError` for a look that was not planned: nothing is left to spend on it.
    """
    check_confidence(confidence)
    if planned_looks < 1:
        raise ValueError(f"at least one look has to be planned, not {planned_looks}")
    if not 1 <= look <= planned_looks:
        raise ValueError(f"look {look} was not planned: there are {planned_looks}")
    return 1 - (1 - confidence) / planned_looks


def repeated_confidence(invocations: Sequence[int], confidence: float = 0.95) -> float:
    """The confidence for the t-interval at every look, so that all hold together.

    ``invocations`` are the numbers of values at the planned looks, rising, the first >= 2. This is
    the constant boundary of Pocock (1977, Biometrika 64:191) after the repeated significance tests
    of Armitage, McPherson & Rowe (1969, JRSS A 132:235), for Student's t: with independent normal
    log-ratios the joint distribution of the t statistics depends on ``invocations`` alone, so it
    is simulated, with a fixed seed. The result lies
    between ``confidence`` and `confidence_at_look`. Takes 0.1 s, once per plan. Raises
    `ValueError` for other numbers.
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
    steps = math.floor(math.log(last / first) / math.log(growth) + 1e-9)
    return sorted({last, *(round(first * growth**step) for step in range(steps + 1))})


@lru_cache(maxsize=64)
def _repeated_confidence(sizes: tuple[int, ...], confidence: float) -> float:
    if len(sizes) == 1:
        return confidence
    statistics = _t_histories(sizes)
    low, high = confidence, confidence_at_look(1, len(sizes), confidence)
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
    limits = np.array([float(stdtrit(n - 1, 0.5 + confidence / 2)) for n in sizes])
    return float((statistics <= limits[:, np.newaxis]).all(axis=0).mean())
