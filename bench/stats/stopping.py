"""When a cell has its answer: its interval is narrow enough, or its place in the order is settled.

Pure functions of what was measured; the scheduler asks after each generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.stats.interval import Interval, ratio_interval, trimmed_mean_interval
from bench.stats.multiple import pairwise_comparisons, simultaneous_confidence
from bench.stats.nested.pairing import Turns, ratios
from bench.stats.spending import geometric_looks, repeated_confidence
from bench.stats.verdict import side, within_margin

#: Share of the error probability that an interval may spend which decides itself when to be shown.
#: A t-interval that stops as soon as it is narrow stops too often by luck (Anscombe 1953,
#: JRSS B 15:1). At 0.5 it covers 93 to 97% where 95% is stated, for processes that differ by 1 to
#: 6% and precision 2% (tests/stats/test_stopping.py simulates it); at 1.0 it covers 89 to 94%.
FIXED_WIDTH_SPENDING = 0.5

#: An interval that is narrower than was asked by this factor when it is first looked at did not
#: stop by luck, and spends its whole error: it covers 94 to 96% for processes that differ by up to
#: 60% of the precision, where one at half of the error covers 96 to 98%. Processes that differ by
#: more rarely agree so well, and cover as often as without this (tests/stats/test_stopping.py).
CLEARLY = 3.0

#: Fewest invocations for an order: three can tell apart what differs by tens of percent.
FEWEST_TO_RANK = 3

Figures = Mapping[int, float]  #: invocation index -> figure
#: What ended the measuring of a pair: that their order was settled, that one's interval was narrow
#: enough, or nothing that was seen: time, or a limit on invocations.
Ended = Literal["order", "width", "time"]


def stopping_confidence(confidence: float) -> float:
    """The confidence at which to compute an interval that stops when it is narrow enough."""
    return 1 - FIXED_WIDTH_SPENDING * (1 - confidence)


def clearly_narrow(
    values: Sequence[float] | NDArray[np.float64], confidence: float, precision: float
) -> bool:
    """Whether an interval is so narrow at its first look that luck did not choose the moment."""
    found = Stated(confidence, chosen=False).interval(values)
    return found.relative_half_width <= precision / CLEARLY


@dataclass(frozen=True)
class Stated:
    """How intervals of a cell's figures are stated."""

    confidence: float
    #: Whether measuring may have stopped because its interval was narrow by luck.
    chosen: bool = True

    def interval(self, values: Sequence[float] | NDArray[np.float64]) -> Interval:
        """The interval of the typical invocation (`trimmed_mean_interval`) that covers with this
        confidence although measuring stopped because of it. ``values``: one an invocation, at
        least two."""
        spent = stopping_confidence(self.confidence) if self.chosen else self.confidence
        found = trimmed_mean_interval(np.asarray(values, dtype=np.float64), spent)
        return replace(found, confidence=self.confidence)


@dataclass(frozen=True)
class RankingRule:
    """Decides which pairs of cells are in order, at a confidence that holds for all pairs and
    looks together."""

    cells: int
    confidence: float
    margin: float
    first: int
    last: int

    def looks(self) -> tuple[int, ...]:
        """At how many common invocations a pair is looked at."""
        return _looks(self.first, self.last)

    def settled(self, a: Figures, b: Figures) -> bool:
        """Whether one of the two is surely larger, or they surely differ by less than the margin.

        Measured in the same generations they are paired; what was seen at an earlier look counts
        no more and no less than what is seen now: each look holds on its own.
        """
        common = sorted(a.keys() & b.keys())
        passed = [look for look in self.looks() if look <= len(common)]
        if not passed:
            return False
        # Only planned looks are paid for: what came after the last of them waits for the next.
        used = common[: passed[-1]]
        ratio = ratio_interval(
            np.array([a[i] for i in used]), np.array([b[i] for i in used]), self.per_look()
        )
        return side(ratio) != 0 or within_margin(ratio, self.margin)

    def per_look(self) -> float:
        """The confidence of one pair at one look."""
        return repeated_confidence(self.looks(), self._of_a_pair())

    def concluded(self, common: int, ended: Ended) -> tuple[int, float]:
        """How many of ``common`` invocations the interval of a pair takes once measuring has
        ended, and the confidence of that interval at which all looks hold together.

        Where a settled order ended it, it is one of the planned looks. Where nothing that was seen
        did, those that were not made cost nothing: the end is the last look, at all that there
        is. Earlier looks were held to the stricter limit of the whole plan, so all of them hold
        with what was stated, or more (Lan & DeMets 1983, Biometrika 70:659, on looks whose number
        isn't known beforehand). What ends because it is narrow pays for that besides.
        """
        made = [look for look in self.looks() if look <= common]
        if ended == "order":
            return (made[-1] if made else common), self.per_look()
        stated = self._of_a_pair()
        if ended == "width":
            stated = stopping_confidence(stated)
        # An end between two looks costs no more than one at the second: the further apart looks
        # are, the less they agree. So there are few plans to simulate.
        count = sum(look < common for look in self.looks()) + 1
        return common, repeated_confidence(self.looks()[:count], stated)

    def _of_a_pair(self) -> float:
        pairs = max(1, pairwise_comparisons(self.cells))
        return simultaneous_confidence(pairs, self.confidence)

    def open_cells(self, cells: Mapping[str, Mapping[int, Turns]]) -> set[str]:
        """The cells that still have a pair whose order is open, from what each process gave, by
        the invocation's index."""
        undecided: set[str] = set()
        for one, other in combinations(sorted(cells), 2):
            found = ratios(cells[one], cells[other])
            if not self.settled(dict.fromkeys(found, 1.0), found):
                undecided |= {one, other}
        return undecided


@lru_cache
def _looks(first: int, last: int) -> tuple[int, ...]:
    return tuple(geometric_looks(first, last))
