"""How long a run will take, from its plan and from what was measured of it so far."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.measure.energy.lasting import EnergyTime
from bench.measure.listener import Forecast
from bench.measure.pace.account import Account
from bench.measure.pace.budget import KEPT_SHARE
from bench.measure.state import CellState
from bench.numbers import counted
from bench.record.energy import FEWEST_ROUNDS
from bench.record.estimate import relative_half_width
from bench.spec import DECENT, Suite
from bench.stats.spending import geometric_looks

#: Before anything is measured: a worker's start, eight blocks of 10 ms and what is asked of it at
#: the end took so long, and scoring a model on a target so long, where the default suite was
#: measured on two cores that did nothing else. Both are replaced by what is seen.
INVOCATION_S = 0.6
SCORE_S = 1.8


class Forecaster:
    """Learns what an invocation and a score of this run take, and how many are needed."""

    def __init__(
        self,
        suite: Suite,
        account: Account,
        groups: Sequence[int],
        scores: int,
        metered: Sequence[int] = (),
    ) -> None:
        """``groups``: how many cells each has, those that are measured first at the front;
        ``scores``: how many models are scored on a target; ``metered``: how many cells of each
        group get windows of energy."""
        self.energy = EnergyTime(suite, metered)
        self._suite = suite
        self._account = account
        self._waiting = list(groups)
        self._scores = scores
        self._scored = 0
        self._scored_s = 0.0
        self._invocations = 0
        self._measuring_s = 0.0
        self._needed: dict[str, float] = {}  #: invocations in the end, by cell

    def began(self) -> None:
        """The cells of the next group are measured from now on, as far as they can be."""
        if self._waiting:
            self._waiting.pop(0)

    def scored(self, models: int, seconds: float) -> None:
        """So many models were scored, each on a target, in this time together."""
        self._scores = max(0, self._scores - models)
        self._scored += models
        self._scored_s += seconds

    def left_to_score(self, models: int) -> None:
        """So many are still to be scored: those of models that never ran aren't."""
        self._scores = models

    def measured(self, states: Sequence[CellState], seconds: float) -> None:
        """One more invocation of each of the cells took so long, all things included."""
        self._invocations += len(states)
        self._measuring_s += seconds
        for state in states:
            self._needed[state.cell.id] = self._in_the_end(state)

    @property
    def to_score_s(self) -> float:
        """Seconds that scoring will still take."""
        return self._scores * self._score_s

    def expected(self, active: Sequence[CellState] = ()) -> Forecast:
        """What is to be expected now, while ``active`` cells are measured."""
        left = sum(
            max(1.0, self._needed.get(state.cell.id, self._typical) - len(state.invocations))
            for state in active
        )
        left += sum(self._waiting) * self._typical
        remaining_s = left * self._invocation_s + self.to_score_s + self.to_meter_s(active)
        spent_s = self._account.total_s
        if self._suite.budget_s is not None:
            left_s = max(self._least_s(active), self._suite.budget_s - spent_s)
            remaining_s = min(remaining_s, left_s)
        return Forecast(spent_s, remaining_s)

    def to_meter_s(self, active: Sequence[CellState] = ()) -> float:
        """Seconds that windows of energy will still take."""
        return self.energy.left_s(self.rounds(active), self._invocation_s)

    def rounds(self, active: Sequence[CellState] = ()) -> int:
        """Rounds of windows that each group gets: as many as the budget holds beside the fewest
        invocations of all cells."""
        spare_s = math.inf
        if self._suite.budget_s is not None:
            whole_s = self._suite.budget_s * (1 - KEPT_SHARE)
            spare_s = whole_s - self._account.total_s - self._fewest_s(active)
        return self.energy.rounds(spare_s, self._invocation_s)

    def too_short(self) -> list[str]:
        """That the budget doesn't hold the fewest windows of energy, and what would; nothing where
        it does."""
        budget_s = self._suite.budget_s
        needed_s = (self._account.total_s + self._least_s()) / (1 - KEPT_SHARE)
        if budget_s is None or not self.energy.cells or needed_s <= budget_s:
            return []
        return [
            f"--budget {budget_s:g}s is too short for the energy of "
            f"{counted(self.energy.cells, 'cell')}, so the run takes longer: {FEWEST_ROUNDS} "
            f"rounds of windows, the fewest, need --budget {math.ceil(needed_s)}s."
        ]

    def _least_s(self, active: Sequence[CellState] = ()) -> float:
        """What is done in any case."""
        return self._fewest_s(active) + self.energy.least_s(self._invocation_s)

    def _fewest_s(self, active: Sequence[CellState]) -> float:
        """What the fewest invocations of each cell take, and scoring."""
        fewest = self._suite.min_invocations
        left = sum(max(0, fewest - len(state.invocations)) for state in active)
        return (left + fewest * sum(self._waiting)) * self._invocation_s + self.to_score_s

    @property
    def _typical(self) -> float:
        """Invocations that a cell will have of which nothing is known yet."""
        if self._needed:
            return sum(self._needed.values()) / len(self._needed)
        return float(self._suite.min_invocations)

    @property
    def _invocation_s(self) -> float:
        return self._measuring_s / self._invocations if self._invocations else INVOCATION_S

    @property
    def _score_s(self) -> float:
        return self._scored_s / self._scored if self._scored else SCORE_S

    def _in_the_end(self, state: CellState) -> float:
        """How many invocations a cell will have when it stops."""
        suite, count = self._suite, len(state.invocations)
        if state.stop:
            return count
        if suite.goal == "rank":
            looks = geometric_looks(suite.min_invocations, suite.max_invocations)
            return next((look for look in looks if look > count), suite.max_invocations)
        wanted = float(suite.min_invocations)
        if count > 1:
            precision = DECENT if suite.goal == "overview" else suite.precision
            ratio = relative_half_width(state.figures(), suite.confidence) / precision
            # Beyond that no more are taken, and of two processes far apart the square is no float.
            ratio = min(ratio, float(suite.max_invocations))
            wanted = max(wanted, math.ceil(count * ratio**2))
        affordable = suite.max_time_s / max(state.spent_s / count, 1e-9) if count else math.inf
        return min(max(wanted, count + 1), suite.max_invocations, max(affordable, count + 1))
