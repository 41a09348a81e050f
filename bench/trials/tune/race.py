"""The race itself, whoever measures: rounds of a few configurations at a time, until it is decided
or the time is up, and then the confirmation on fresh processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bench.stats.racing import ByRound, RacingRule, Standing

#: So many are measured interleaved at most: each is a process that holds the model.
TOGETHER = 8
#: Values of each before the first look, and at the last.
FIRST, LAST = 3, 20
#: Fresh processes of the pick and of what it is compared with. At 2% between processes the
#: interval of their ratio is then +-1.8%.
CONFIRMATIONS = 12
#: What a race takes over its first look: 1.5 to 2.1 times as much where it is simulated.
_LATER_LOOKS = 1.6
#: The share of the whole time that is kept for the confirmation, at most. Our choice.
_RESERVED = 0.3
#: A process may take longer than those before it by this factor.
SLACK = 1.2


class Field(Protocol):
    """Who races, and who measures them."""

    def costs(self) -> Mapping[str, ByRound]:
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
    """Seconds for a whole tuning run, over all its parts where it was interrupted."""

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
    """How long one process takes, as far as is known: nothing before the first one."""

    budget: Budget
    #: Turns of a round that are no configuration's, such as windows of the idle machine.
    extra: int = 0
    #: What a turn takes at the very least, which is known before the first.
    least_s: float = 0.0
    seconds: float = 0.0
    turns: int = 0
    #: Seconds that are kept for something else than turns, whatever the time.
    apart_s: float = 0.0
    #: Told after each round, when its time is counted.
    counted: Callable[[], object] = lambda: None

    def measure(self, field: Field, names: Sequence[str]) -> None:
        if not names:
            return
        before = self.budget.spent_s
        field.measure(names)
        self.seconds += self.budget.spent_s - before
        self.turns += len(names) + self.extra
        self.counted()

    def forget(self, turns: int, seconds: float) -> None:
        """These tell nothing of those to come."""
        self.turns -= turns
        self.seconds -= seconds

    @property
    def each_s(self) -> float:
        """Of one turn."""
        return SLACK * self.seconds / self.turns if self.turns else self.least_s

    def left_s(self, reserve: int) -> float:
        """The time that is left beside that for ``reserve`` turns, which gives way where it would
        be most of it."""
        kept = min(reserve * self.each_s, _RESERVED * self.budget.total_s)
        return self.budget.left_s - self.apart_s - kept

    def holds(self, processes: int, reserve: int = 0) -> bool:
        """Whether there is time for a round of so many."""
        return self.left_s(reserve) > (processes + self.extra) * self.each_s

    def affords(self, reserve: int) -> float:
        """How many more processes there is time for, in full rounds."""
        return self.left_s(reserve) / (self.each_s * (1 + self.extra / TOGETHER))

    def reserve(self, count: int) -> int:
        """Turns that a confirmation of so many configurations takes."""
        return CONFIRMATIONS * (count + self.extra)


def race(
    rule: Callable[[], RacingRule],
    field: Field,
    pace: Pace,
    rng: np.random.Generator,
    always: Collection[str] = (),
    reserve: int = 0,
) -> Standing:
    """Race until it is decided, or only the time for ``reserve`` more turns is left: before the
    first look, and while all are in doubt, there is nothing to confirm, so nothing is kept for it.
    The rule is asked for anew each time, since it counts those that there is time for."""
    if pace.each_s:
        field.leave_out(_too_many(rule(), field.costs(), pace, reserve))
    while True:
        costs, doubtful = field.costs(), field.doubtful()
        now = rule().standing(costs, always, doubtful)
        due = rule().due(now, costs)
        if not due:
            return now
        kept = reserve if now.look and set(now.left) - set(doubtful) else 0
        # The simplest come first, to tell how many can be afforded; then all in random order, so
        # that what the machine does meanwhile favours nobody.
        first = due[:TOGETHER] if not any(costs.values()) else []
        others = rng.permutation([name for name in due if name not in first]).tolist()
        for names in filter(None, (first, *_few_at_a_time(others))):
            racing = field.costs()
            names = [name for name in names if name in racing]
            if names and not pace.holds(len(names), kept):
                return rule().standing(racing, always, field.doubtful())
            first_of_all = not pace.turns
            pace.measure(field, names)
            if first_of_all:
                _start_again(rule(), field, pace, names, reserve)
            if pace.turns and not now.look:
                field.leave_out(_too_many(rule(), field.costs(), pace, reserve))


def _start_again(
    rule: RacingRule, field: Field, pace: Pace, names: Sequence[str], reserve: int
) -> None:
    """Where the first round says that there is no time for all: measure once more those of it that
    there is time for, and judge by these alone if they were faster. The first processes also load
    and compile what all later ones find ready."""
    costs = field.costs()
    late = _too_many(rule, costs, pace, reserve)
    again = [name for name in names if name in costs and name not in late]
    if not late or not again or not pace.holds(len(again)):
        return
    started = pace.turns, pace.seconds
    pace.measure(field, again)
    turns, seconds = pace.turns - started[0], pace.seconds - started[1]
    if seconds / turns < started[1] / started[0]:
        pace.forget(*started)


def _few_at_a_time(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + TOGETHER] for start in range(0, len(names), TOGETHER)]


def _too_many(
    rule: RacingRule, costs: Mapping[str, ByRound], pace: Pace, reserve: int
) -> list[str]:
    """Those that don't come to the first look in time, with what the later looks take of the
    others: the ones with the most departures. Two stay, whatever the time."""
    fitting = max(2, affordable(rule, pace, reserve, sum(map(len, costs.values()))))
    return [
        name
        for place, (name, values) in enumerate(costs.items())
        if place >= fitting and len(values) < rule.first
    ]


def affordable(rule: RacingRule, pace: Pace, reserve: int, measured: int = 0) -> int:
    """How many configurations there is time to race, of whom so many values are there already."""
    return int((pace.affords(reserve) + measured) / (rule.first * _LATER_LOOKS))


def confirm(
    field: Field,
    names: Callable[[], Sequence[str]],
    have: Callable[[Sequence[str]], int],
    pace: Pace,
    count: int,
    *,
    futile: int = 1,
) -> None:
    """Measure these side by side until there are ``count`` processes of each, as ``have`` tells,
    the time is up, or ``futile`` rounds in a row brought none; when to end doesn't depend on what
    comes out.

    ``names`` are asked for each time: one that fails costs the others nothing, and where fewer than
    two are left there is nothing to compare.
    """
    in_vain = 0
    while len(now := names()) > 1 and in_vain < futile:
        before = have(now)
        if before >= count or not pace.holds(len(now)):
            break
        pace.measure(field, now)
        if names() == now:
            in_vain = 0 if have(now) > before else in_vain + 1
