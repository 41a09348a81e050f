"""The Pareto front of cost against accuracy, where both are known to an interval only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.stats.interval import Interval

#: What is known of two points, by their places: an interval, or None where nothing is.
Compared = Callable[[int, int], Interval | None]
State = Literal["front", "open", "dominated"]


@dataclass(frozen=True)
class Standing:
    """Where one point stands: ``by`` is the place of the point that surely dominates it."""

    state: State
    by: int | None = None


def standings(
    count: int, cost: Compared, accuracy: Compared, cost_margin: float, loss: float
) -> list[Standing]:
    """Which of ``count`` points are surely on the front, surely dominated, or open.

    ``cost(i, j)`` is an interval of the ratio of i's cost to j's, ``accuracy(i, j)`` of the
    difference of i's accuracy and j's, as fractions. A cost that differs by less than
    ``cost_margin`` (a share) and an accuracy by less than ``loss`` count as equal.

    i surely dominates j where it is surely cheaper and surely not less accurate by more than
    ``loss``, or surely more accurate by more than that and surely not costlier by more than the
    margin. j is on the front where surely no other point dominates it: each is surely costlier, or
    surely less accurate by more than ``loss``.
    """

    def dominates(i: int, j: int) -> bool | None:
        """None where the intervals leave it open."""
        price, quality = cost(i, j), accuracy(i, j)
        if price is not None and price.low > 1:
            return False
        if quality is not None and quality.high < -loss:
            return False
        if price is None or quality is None:
            return None
        cheaper = price.high < 1 and quality.low >= -loss
        better = quality.low > loss and price.high <= 1 + cost_margin
        return True if cheaper or better else None

    found = []
    for j in range(count):
        by = [(i, dominates(i, j)) for i in range(count) if i != j]
        sure = [i for i, verdict in by if verdict]
        if sure:
            found.append(Standing("dominated", _cheapest(sure, cost)))
        else:
            open_ = any(verdict is None for _, verdict in by)
            found.append(Standing("open" if open_ else "front"))
    return found


def _cheapest(places: list[int], cost: Compared) -> int:
    """Of several that dominate, the one that costs least."""
    best = places[0]
    for place in places[1:]:
        ratio = cost(place, best)
        if ratio is not None and ratio.estimate < 1:
            best = place
    return best
