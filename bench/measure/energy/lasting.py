"""How long the energy of a run takes: known before anything is measured, since a window lasts as
long as it is asked to."""

from __future__ import annotations

from collections.abc import Sequence

from bench.measure.energy.passes import LEAD_S, TAIL_S
from bench.record.energy import FEWEST_ROUNDS
from bench.spec import Suite

#: Windows of the idle machine in a round.
IDLE_TURNS = 2


def turn_s(suite: Suite) -> float:
    """What a window takes at least."""
    return LEAD_S + suite.energy_window_s + TAIL_S


class EnergyTime:
    """The rounds of windows that are still to come, and what they take. ``start_s`` is what a
    worker takes to start, as far as is known."""

    def __init__(self, suite: Suite, groups: Sequence[int]) -> None:
        """``groups``: how many cells of each are metered, those that come first at the front."""
        self._groups = list(groups)
        self._wanted = max(FEWEST_ROUNDS, suite.min_invocations)
        self._turn_s = turn_s(suite)
        self._made = 0  #: rounds of the group at the front
        self._turns = 0
        self._seconds = 0.0

    @property
    def cells(self) -> int:
        """Whose windows are still to come."""
        return sum(self._groups)

    def began(self, cells: int) -> None:
        """So many of the group at the front are metered from now on."""
        self._groups[:1] = [cells]
        self._made = 0

    def took(self, seconds: float) -> None:
        """A round of the group at the front took so long."""
        self._made += 1
        self._turns += self._groups[0] + IDLE_TURNS
        self._seconds += seconds

    def ended(self) -> None:
        """The group at the front has all the windows that it gets."""
        del self._groups[:1]
        self._made = 0

    def unread(self) -> None:
        """There was no meter for the group at the front, and groups have the same targets."""
        self._groups = [0] * len(self._groups)

    def left_s(self, rounds: int, start_s: float) -> float:
        """What is still to come, where each group gets so many rounds."""
        to_come = [max(0, rounds - self._made), *[rounds] * len(self._groups[1:])]
        lasting = (self._round_s(cells, start_s) for cells in self._groups)
        return sum(n * seconds for n, seconds in zip(to_come, lasting, strict=False))

    def least_s(self, start_s: float) -> float:
        """The same with the fewest rounds that give a figure."""
        return self.left_s(FEWEST_ROUNDS, start_s)

    def rounds(self, spare_s: float, start_s: float) -> int:
        """How many each group gets: as many as the time holds of all groups, and the fewest that
        give a figure in any case."""
        possible = range(FEWEST_ROUNDS, self._wanted + 1)
        held = [rounds for rounds in possible if self.left_s(rounds, start_s) <= spare_s]
        return max(held, default=FEWEST_ROUNDS)

    def _round_s(self, cells: int, start_s: float) -> float:
        if not cells:
            return 0.0
        if self._turns:
            return (cells + IDLE_TURNS) * self._seconds / self._turns
        return (cells + IDLE_TURNS) * self._turn_s + cells * start_s
