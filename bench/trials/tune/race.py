"""The race itself, whoever measures: rounds of a few configurations at a time, until it is decided
or the time is up, and then the confirmation on fresh processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bench.stats.racing import RacingRule, Standing

#: So many are measured interleaved at most: each is a process that holds the model.
TOGETHER = 8
#: Values of each before the first look, and at the last.
FIRST, LAST = 3, 20
#: Fresh processes of the pick and of what it is compared with. At 2% between processes the
#: interval of their ratio is then +-1.8%.
CONFIRMATIONS = 12
#: A process may take longer than those before it by this factor.
_SLACK = 1.2


class Field(Protocol):
    """Who races, and who measures them."""

    def costs(self) -> Mapping[str, Sequence[float]]:
        """What was measured so far of all that may still be returned, the simplest first."""
        ...

    def doubtful(self) -> Collection[str]:
        """Those of which it isn't certain yet that they can be had."""
        ...

    def measure(self, names: Sequence[str]) -> None:
        """One more process of each, interleaved. One that fails is no longer in `costs`."""
        ...

    def leave_out(self, names: Sequence[str]) -> None:
        """There is no time to try these."""
        ...


@dataclass
class Budget:
    """Seconds for the whole of a tune, over all its parts where it was interrupted."""

    total_s: float
    spent_before_s: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    @property
    def spent_s(self) -> float:
        return self.spent_before_s + self.clock() - self._started

    @property
    def left_s(self) -> float:
        return self.total_s - self.spent_s


@dataclass
class Pace:
    """How long one process takes, as far as is known."""

    budget: Budget
    seconds: float = 0.0
    processes: int = 0

    def measure(self, field: Field, names: Sequence[str]) -> None:
        before = self.budget.spent_s
        field.measure(names)
        self.seconds += self.budget.spent_s - before
        self.processes += len(names)

    @property
    def each_s(self) -> float:
        return _SLACK * self.seconds / self.processes if self.processes else 0.0

    def holds(self, processes: float) -> bool:
        """Whether there is time for so many more."""
        return self.budget.left_s > processes * self.each_s


def race(
    rule: RacingRule,
    field: Field,
    pace: Pace,
    rng: np.random.Generator,
    always: Collection[str] = (),
    reserve: int = 0,
) -> Standing:
    """Race until it is decided, or only the time for ``reserve`` more processes is left."""
    while True:
        costs = field.costs()
        now = rule.standing(costs, always, field.doubtful())
        due = rule.due(now, costs)
        if not due:
            return now
        if not pace.processes and len(due) > TOGETHER:
            # The simplest first: they tell how many can be afforded.
            pace.measure(field, due[:TOGETHER])
            field.leave_out(_too_many(rule, field.costs(), pace, reserve))
            continue
        order = rng.permutation(due).tolist()
        for start in range(0, len(order), TOGETHER):
            names = order[start : start + TOGETHER]
            if not pace.holds(len(names) + reserve):
                return rule.standing(field.costs(), always, field.doubtful())
            pace.measure(field, names)


def _too_many(
    rule: RacingRule, costs: Mapping[str, Sequence[float]], pace: Pace, reserve: int
) -> list[str]:
    """Those that can't come to the first look in time, the ones with the most departures; half of
    the time is for the looks after it."""
    affordable = int((pace.budget.left_s / pace.each_s - reserve) / 2 / rule.first)
    return [name for place, name in enumerate(costs) if place >= affordable and not costs[name]]


def confirm(
    field: Field, names: Sequence[str], have: Callable[[], int], pace: Pace, count: int
) -> None:
    """Measure these side by side until there are ``count`` processes of each, as ``have`` tells, or
    the time is up; when to end doesn't depend on what comes out."""
    while (before := have()) < count and pace.holds(len(names)):
        pace.measure(field, names)
        if have() == before:  # one of them failed
            return
