"""How many times as long one process takes as another that was measured in turn with it.

Both had a block in each round, milliseconds apart, so what slowed the machine for a while hit both,
and the ratio of the two blocks holds where either block alone says little. A round in which one of
the two was hit and the other was not is an outlier among these ratios, so the middle half of them
makes the figure. The unit of evidence stays the process: each pair of processes gives one ratio.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.stats.interval import FEWEST_INVOCATIONS

Logs = NDArray[np.float64]
Rounds = Mapping[int, float]  #: by the number of the round: the logarithm of a block's median

#: Share of the rounds left out at either end: the midmean (Tukey 1977, "Exploratory data
#: analysis"). `python tests/proofs pairs` prints what it leaves of the spread of ratios.
TRIMMED_ROUNDS = 0.25
#: With fewer rounds in common nothing would be left out, and each process speaks for itself.
FEWEST_COMMON = 4
#: Fewest pairs to judge by where each side has more processes than they share. Our choice: as many
#: processes as a cell gets by default. Two or three pairs make Student's t so wide that nearly all
#: that varies would have to be common to both (`tests/stats/test_pairing.py`); with more, pairs are
#: the better evidence, for no other interval knows of drift.
ENOUGH_PAIRS = 5


@dataclass(frozen=True)
class Turns:
    """One process: the figure that it has alone, and the median of its block in each round; all
    positive, and times in ns of a query."""

    alone: float
    rounds: Mapping[int, float] = field(default_factory=dict)


def shared(a: Collection[int], b: Collection[int]) -> list[int]:
    """The generations by which two that were measured in turn are compared, in order: those that
    both took part in; none where that is too few, and each is to count with all that it has.

    Two may share few of many: one of them ran out of memory beside the other, and was measured
    apart from then on. What they share doesn't depend on what was measured, so either interval
    holds.
    """
    common = sorted(set(a) & set(b))
    enough = min(ENOUGH_PAIRS, len(set(a)), len(set(b)))
    return common if len(common) >= max(FEWEST_INVOCATIONS, enough) else []


def ratios(a: Mapping[int, Turns], b: Mapping[int, Turns]) -> dict[int, float]:
    """B over A in each generation that both took part in."""
    return {index: math.exp(log_ratio(a[index], b[index])) for index in sorted(a.keys() & b.keys())}


def log_ratio(a: Turns, b: Turns) -> float:
    """The logarithm of B over A: of the rounds that both have, where these are enough."""
    if len(a.rounds.keys() & b.rounds.keys()) < FEWEST_COMMON:
        return math.log(b.alone / a.alone)
    mine, theirs = ({n: math.log(ns) for n, ns in one.rounds.items()} for one in (a, b))
    return difference(theirs, mine)


def difference(a: Rounds, b: Rounds) -> float:
    """A less B: the midmean over the rounds that both have; without any, that of the means."""
    common = a.keys() & b.keys()
    if not common:
        return float(np.mean(list(a.values())) - np.mean(list(b.values())))
    return midmean(np.array([a[number] - b[number] for number in sorted(common)]))


def midmean(values: Logs) -> float:
    """The mean without the `TRIMMED_ROUNDS` share at either end, rounded down."""
    cut = int(TRIMMED_ROUNDS * len(values))
    return float(np.sort(values)[cut : len(values) - cut].mean())


def pseudo_values(values: Logs) -> Logs:
    """Values whose mean is the midmean, and whose variance over their number is that of the
    midmean: what is made for means then holds for it (from the Winsorised variance, as Yuen 1974,
    Biometrika 61:165)."""
    count = len(values)
    cut = int(TRIMMED_ROUNDS * count)
    kept = count - 2 * cut
    if not cut or kept < 2:
        return values
    ends = np.sort(values)[[cut, count - cut - 1]]
    winsorised = np.clip(values, *ends)
    scale = math.sqrt(count * (count - 1) / (kept * (kept - 1)))
    found: Logs = midmean(values) + scale * (winsorised - winsorised.mean())
    return found
