"""What each group of cells may take of the seconds that a whole run has."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

#: Of a run's budget, for what follows the last generation: comparing outputs, writing records.
#: Our choice.
KEPT_SHARE = 0.05


@dataclass(frozen=True)
class Allowance:
    """The time of one group."""

    left_s: Callable[[], float] = lambda: math.inf
    cell_s: float = math.inf  #: what one of its cells may take, starting included


class Budget:
    """Shares the seconds of a run among its groups by their cells. What scoring and windows of
    energy take is taken off before, and counts against no group."""

    def __init__(self, seconds: float | None, cells: int, clock: Callable[[], float]) -> None:
        """``clock`` tells how long the run has taken, without what was spent apart."""
        self._seconds = math.inf if seconds is None else seconds * (1 - KEPT_SHARE)
        self._cells = cells
        self._clock = clock

    def allowance(self, cells: int, apart_s: float) -> Allowance:
        """What the next group may take from now on; ``apart_s`` is what scoring and energy took so
        far and will still take."""
        if not cells or math.isinf(self._seconds):
            return Allowance()
        share = cells / max(self._cells, cells)
        self._cells -= cells
        began_s = self._clock()
        mine_s = share * self._left_s(apart_s)
        return Allowance(lambda: mine_s - (self._clock() - began_s), mine_s / cells)

    def without(self, cells: int) -> None:
        """So many are not measured after all, and need no share."""
        self._cells -= cells

    def is_spent(self, apart_s: float) -> bool:
        """Whether nothing is left for what doesn't have to be measured."""
        return self._left_s(apart_s) <= 0

    def _left_s(self, apart_s: float) -> float:
        return max(0.0, self._seconds - self._clock() - apart_s)
