"""Racing: finding the best of many configurations without measuring the bad ones for long.

Everybody is measured a few times; then, look by look, whoever is told apart as worse than the best
by more than a margin is *out*, and of the others the better-looking half goes on (successive
halving: Karnin, Koren & Somekh 2013, ICML; Jamieson & Talwalkar 2016, AISTATS). Who doesn't go on
is *parked*: measured no further, and not out, for what is not established is not claimed.

The best one must not be lost. It is lost where it comes out worse than *some* other by more than
the margin, so its comparisons with all others have to hold together, at all looks: as many as there
are others, not as there are pairs (multiple comparisons with the best: Hsu 1981, Annals of
Statistics 9:1026). `bench.stats.spending` pays for the looks, as it does for an order.

Three values of each say little about their spread, and many configurations say much about what
spreads are usual; variances are moderated by that (`moderated`), or a first look after three could
only see what differs by half.

Costs are times or energies: lower is better, errors multiply, and all is done on logarithms. Two
are compared by the rounds in which both were measured (`differences`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.stats.distributions import student
from bench.stats.distributions.polygamma import digamma, tetragamma, trigamma
from bench.stats.interval import Interval
from bench.stats.multiple import simultaneous_confidence
from bench.stats.nested.pairing import shared
from bench.stats.spending import geometric_looks, repeated_confidence

#: So many go on at least: parking is for saving time, and few cost little.
FEWEST_RACING = 3
#: Of those that are left at a look, the share that goes on.
GOING_ON = 0.5
#: Fewer variances than this say nothing on what is usual.
FEWEST_VARIANCES = 5
#: What others tell about a variance counts for at most so many values of its own. Our choice: where
#: all variances are alike there would be no limit, and one configuration of another kind (a
#: process in three is slow) would be judged by the others' calm alone.
MOST_PRIOR = 10.0
#: A variance of logarithms below this is rounding.
_LEAST_VARIANCE = 1e-14

Logs = NDArray[np.float64]
#: What one costs, by the number of the round.
ByRound = Mapping[int, float]


@dataclass(frozen=True)
class Out:
    """Why one is out: its cost over that of ``against``, by so many values of each."""

    look: int
    against: str
    ratio: Interval
    values: int


@dataclass(frozen=True)
class Standing:
    """How a race stands. Names are in the order in which they were given: the simplest first."""

    look: int  #: the last one that was taken; 0 before the first
    out: Mapping[str, Out] = field(default_factory=dict)
    parked: tuple[str, ...] = ()
    racing: tuple[str, ...] = ()
    leader: str = ""  #: of the lowest cost so far
    pick: str = ""  #: the simplest of those whose cost is within the margin of the leader's
    sure: bool = False  #: whether the pick is surely within the margin of all that race on
    open: bool = False  #: whether all that race on are in doubt, the leader and the pick too

    @property
    def left(self) -> tuple[str, ...]:
        """Those that are not told apart from the best."""
        return (*self.racing, *self.parked)


@dataclass(frozen=True)
class RacingRule:
    """Who goes on, at a confidence that holds for all comparisons with the best and all looks."""

    entrants: int
    confidence: float
    margin: float
    first: int
    last: int

    def looks(self) -> tuple[int, ...]:
        """After how many values of each there is a look."""
        return tuple(geometric_looks(self.first, self.last))

    def per_look(self) -> float:
        """The confidence of one comparison at one look."""
        others = max(1, self.entrants - 1)
        return repeated_confidence(self.looks(), simultaneous_confidence(others, self.confidence))

    def standing(
        self,
        costs: Mapping[str, ByRound],
        always: Collection[str] = (),
        doubtful: Collection[str] = (),
    ) -> Standing:
        """How it stands after all looks for which there are values: a function of them alone, so
        that a race that was broken off goes on as if it had not been.

        ``costs`` holds who takes part, the simplest first; those ``always`` racing are not parked.
        Nobody is out for being worse than one that is ``doubtful``, which may turn out not to be
        had: where all are, more values have to tell first.
        """
        now = Standing(0, racing=tuple(costs))
        for look in self.looks():
            if not now.racing or any(len(costs[name]) < look for name in now.racing):
                break
            now = self._after(look, now, costs, always, doubtful)
            if self.over(now):
                break
        return now

    def over(self, now: Standing) -> bool:
        """Whether there is nothing left to find out."""
        decided = not now.open and (now.sure or len(now.left) <= 1)
        return bool(now.look) and (now.look >= self.last or decided)

    def due(self, now: Standing, costs: Mapping[str, ByRound]) -> list[str]:
        """Those of the racing that are to be measured next: they have the fewest values."""
        if self.over(now) or not now.racing:
            return []
        counts = {name: len(costs[name]) for name in now.racing}
        return [name for name, count in counts.items() if count == min(counts.values())]

    def _after(
        self,
        look: int,
        before: Standing,
        costs: Mapping[str, ByRound],
        always: Collection[str],
        doubtful: Collection[str],
    ) -> Standing:
        means = {name: _mean_log(costs[name], look) for name in before.racing}
        leader = min(means, key=lambda name: (name in doubtful, means[name]))
        # Those that are parked are compared with the leader of now on the values that they have.
        # A fallen one may come back where what it fell against is taken from the race (`costs`).
        out = dict(before.out)
        against = [*before.racing, *before.parked] if leader not in doubtful else []
        told_by = self._differences(leader, against, costs, look)
        for name, ratio in ratios(told_by, self.per_look()).items():
            if ratio.low > 1 + self.margin:
                out[name] = Out(look, leader, ratio, told_by[name].size)
        left = [name for name in before.racing if name not in out]
        goes_on = {leader, *self._going_on(left, means, always)}
        near = [name for name in left if means[name] <= means[leader] + self._log_margin]
        pick = next((name for name in near if name not in doubtful), leader)
        held = ratios(self._differences(pick, left, costs, look), self.per_look())
        return Standing(
            look,
            out,
            tuple(n for n in (*before.parked, *left) if n not in out and n not in goes_on),
            tuple(n for n in left if n in goes_on),
            leader,
            pick,
            all(ratio.inverse().high <= 1 + self.margin for ratio in held.values()),
            leader in doubtful,
        )

    @property
    def _log_margin(self) -> float:
        return math.log1p(self.margin)

    def _going_on(
        self, left: Sequence[str], means: Mapping[str, float], always: Collection[str]
    ) -> set[str]:
        """The better half by what is known, whoever always races, and the simplest of those that
        cost about as little as the best."""
        count = max(FEWEST_RACING, math.ceil(GOING_ON * len(left)))
        best = sorted(left, key=lambda name: means[name])[:count]
        near = [n for n in left if means[n] <= means[best[0]] + self._log_margin]
        return {*best, *near[:1], *(name for name in left if name in always)}

    def _differences(
        self, one: str, names: Sequence[str], costs: Mapping[str, ByRound], look: int
    ) -> dict[str, Logs]:
        """Of the cost of each of ``names`` over that of ``one``: who is parked has fewer values
        than there were looks."""
        return {
            name: differences(costs[name], costs[one], min(look, len(costs[name])))
            for name in names
            if name != one
        }


def _mean_log(costs: ByRound, count: int) -> float:
    return float(np.log(list(_first(costs, count).values())).mean())


def differences(a: ByRound, b: ByRound, count: int) -> Logs:
    """The logarithms of A over B, of the first ``count`` values that each has: those of the rounds
    in which both have one, where these are enough (`bench.stats.nested.pairing`), else all as they
    come. What didn't count, as a window that another program disturbed, was measured again alone;
    and more configurations than fit beside each other take part in different rounds."""
    ours, theirs = _first(a, count), _first(b, count)
    pairs = [(ours[n], theirs[n]) for n in shared(ours, theirs)]
    logs = np.log(np.array(pairs or [*zip(ours.values(), theirs.values(), strict=True)]))
    found: Logs = logs[:, 0] - logs[:, 1]
    return found


def _first(costs: ByRound, count: int) -> dict[int, float]:
    return dict(sorted(costs.items())[:count])


def ratios(differences: Mapping[str, Logs], confidence: float) -> dict[str, Interval]:
    """The ratio that each set of differences of logarithms stands for: t-intervals whose variances
    are moderated by those of the others."""
    if not differences:
        return {}
    sizes = np.array([values.size for values in differences.values()])
    every = np.concatenate(list(differences.values()))
    # All at once: a race looks at hundreds.
    starts = np.cumsum(sizes) - sizes
    means = np.add.reduceat(every, starts) / sizes
    squares = np.add.reduceat((every - np.repeat(means, sizes)) ** 2, starts)
    variances, freedom = moderated(squares / (sizes - 1), sizes - 1.0)
    reach = student.quantiles(freedom, 0.5 + confidence / 2) * np.sqrt(variances / sizes)
    found = np.exp(means), np.exp(means - reach), np.exp(means + reach)
    return {
        name: Interval(float(estimate), float(low), float(high), confidence)
        for name, estimate, low, high in zip(differences, *found, strict=True)
    }


def moderated(
    variances: NDArray[np.float64], freedom: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each variance as what it was measured to be and what is usual among all say together, and the
    degrees of freedom that it has then.

    Smyth 2004 (Statistical Applications in Genetics and Molecular Biology 3:3): true variances are
    taken to vary like the inverse of a chi-squared variable, whose two parameters follow from the
    mean and the variance of the measured ones' logarithms. Fewer than `FEWEST_VARIANCES` are left
    as they are.
    """
    variances = np.maximum(variances, _LEAST_VARIANCE)
    if variances.size < FEWEST_VARIANCES:
        return variances, freedom
    half = freedom / 2
    logs = np.log(variances) - digamma(half) + np.log(half)
    excess = float(logs.var(ddof=1) - trigamma(half).mean())
    prior = MOST_PRIOR
    if excess > 0:
        prior = min(prior, 2 * _trigamma_inverse(excess))
    usual = math.exp(float(logs.mean()) + float(digamma(prior / 2)) - math.log(prior / 2))
    if excess <= 0:  # all alike: the same with no end of prior values
        usual = math.exp(float(logs.mean()))
    total = freedom + prior
    return (prior * usual + freedom * variances) / total, total


def _trigamma_inverse(value: float) -> float:
    """Where the trigamma function has this value, by Newton's method as Smyth's appendix has it."""
    y = 0.5 + 1 / value
    for _ in range(50):
        found = trigamma(y)
        step = found * (1 - found / value) / tetragamma(y)
        y += step
        if -step / y < 1e-8:
            break
    return y
