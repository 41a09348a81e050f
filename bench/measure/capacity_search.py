"""The server scenario's search: the highest Poisson rate at which its bounds hold.

MLPerf Inference's *server*: queries arrive at random moments, one sample each; the figure is the
rate at which the 99th percentile of latency, counted from the scheduled arrival, stays within a
bound; of a language model those of TTFT (counted likewise) and TPOT, each within its own. Whether
one holds is decided by MLPerf's early-stopping rule: of n queries t may be beyond it iff
n >= h(t) + t (`bench.stats.percentile.minimum_samples`). The rule wants to be 99% sure and a rate
has two attempts: on made-up servers the rate found lay between 15% below and 6% above the true one
(tests/measure/test_capacity_search.py); the interval over invocations shows the spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.errors import Unsupported
from bench.numbers import duration, significant
from bench.record.queries import time_per_token
from bench.stats.percentile import minimum_samples

Array = np.ndarray[Any, np.dtype[np.int64]]

PERCENTILE = 0.99
#: The search ends when the highest rate that held and the lowest that did not are this close.
TOLERANCE = 0.02
#: Halving the bracket from a factor of 2 to 2% takes 6 rates; the rest is for finding a bracket.
MOST_TRIALS = 30
#: A rate fails after so many trials that did: one may be chance.
ATTEMPTS = 2
#: Queries of a trial: as many as arrive in this time, within the two limits.
TRIAL_S = 0.4
MOST_QUERIES = 20_000
#: Slow queries: so many in a trial that it is no longer than this, but never fewer than a 99th
#: percentile needs. At 662 queries the rate found lay between 36% below and 19% above the true one.
LONGEST_TRIAL_S = 30.0
FEWEST_QUERIES = minimum_samples(PERCENTILE)
ENOUGH_QUERIES = 4 * FEWEST_QUERIES
#: A bound that is long against a trial would hold in overload too: the queue that is left at the
#: end, in time, must not be more than this share of the trial.
GROWTH = 0.01
#: Below this share of the rate of back-to-back calls a bound that fails is taken to be hopeless.
LOWEST_SHARE = 0.01


@dataclass(frozen=True)
class Made:
    """The queries that a trial made, in order; fewer than were to come where it was given up.

    ``latency_ns`` is counted from the scheduled arrival to the end, ``ttft_ns`` to the first
    token, where there are tokens; each query gave ``new_tokens``.
    """

    latency_ns: Array
    ttft_ns: Array | None = None
    new_tokens: int = 0


@dataclass(frozen=True)
class Bound:
    """What the 99th percentile of one of a query's times must not exceed.

    ``of`` gives those times; ``alone_ns`` is what a query takes that nothing disturbs.
    """

    name: str
    what: str  #: that takes so long, in words
    limit_ns: float
    alone_ns: float
    of: Callable[[Made], Array]

    def above(self, made: Made) -> int:
        """How many queries are beyond it."""
        return int((self.of(made) > self.limit_ns).sum())


def latency_bound(limit_ns: float, alone_ns: float) -> Bound:
    """A bound on the latency of whole queries."""
    return Bound("latency", "one query alone", limit_ns, alone_ns, lambda made: made.latency_ns)


def ttft_bound(limit_ns: float, alone_ns: float) -> Bound:
    """A bound on the time from a query's arrival to its first token."""
    what = "the first token of one query alone"
    return Bound("TTFT", what, limit_ns, alone_ns, _ttft_ns)


def tpot_bound(limit_ns: float, alone_ns: float) -> Bound:
    """A bound on the time of each token behind the first, the mean over a query."""
    return Bound("TPOT", "each token of one query alone", limit_ns, alone_ns, _per_token_ns)


def _ttft_ns(made: Made) -> Array:
    assert made.ttft_ns is not None
    return made.ttft_ns


def _per_token_ns(made: Made) -> Array:
    found = time_per_token(made.latency_ns, _ttft_ns(made), made.new_tokens)
    assert found is not None  # a bound on it is refused where there is none
    return found


#: (rate per s, queries, how many may be beyond each bound) -> the queries that were made
Trial = Callable[[float, int, int], Made]


@dataclass(frozen=True)
class Capacity:
    """What a search found. ``made`` are the queries of the last trial that held; ``held`` says of
    each trial whether it did."""

    rate_per_s: float
    lowest_failed_per_s: float | None
    held: tuple[bool, ...]
    made: Made


def queries_at(rate_per_s: float) -> int:
    """How many queries a trial makes."""
    enough = max(ENOUGH_QUERIES, math.ceil(rate_per_s * TRIAL_S))
    in_time = max(FEWEST_QUERIES, math.ceil(rate_per_s * LONGEST_TRIAL_S))
    return min(MOST_QUERIES, enough, in_time)


def allowed_above(queries: int) -> int:
    """The most queries that may be beyond a bound: the greatest t with n >= h(t) + t."""
    low, high = 0, queries
    while high - low > 1:
        middle = (low + high) // 2
        if minimum_samples(PERCENTILE, above=middle) <= queries:
            low = middle
        else:
            high = middle
    return low


def find_capacity(trial: Trial, service_ns: float, bounds: Sequence[Bound]) -> Capacity:
    """The highest rate whose trial keeps to all ``bounds``, to `TOLERANCE`.

    ``service_ns`` is the latency of a call that nothing disturbed; the search begins at half the
    rate that it allows, and goes up as long as trials hold: calls can become faster under load.
    The rate that ends the search is tried again at its end, for what stalled the machine once can
    fail several rates in a row; where it holds now, the search goes on above it.
    Raises `Unsupported` where they can't be met at any rate, with what was seen.
    """
    for bound in bounds:
        if bound.limit_ns <= bound.alone_ns:
            raise _too_short(bound)
    start = 0.5e9 / service_ns
    low, rate, failed = 0.0, start, [math.inf]
    held: Made | None = None
    outcomes: list[_Outcome] = []
    while len(outcomes) < MOST_TRIALS and rate >= 2 * start * LOWEST_SHARE:
        for _ in range(ATTEMPTS):
            outcomes.append(_try(trial, rate, bounds))
            if outcomes[-1].holds:
                break
        if outcomes[-1].holds:
            low, held = rate, outcomes[-1].made
            failed = [f for f in failed if f > rate]
        elif rate not in failed:
            failed.append(rate)
        else:  # failed again, later
            break
        narrow = held is not None and failed[-1] <= low * (1 + TOLERANCE)
        rate = failed[-1] if narrow else _next_rate(low, failed[-1], rate)
    if held is None:
        raise _hopeless(outcomes[-1], failed[-1], bounds)
    return Capacity(
        rate_per_s=low,
        lowest_failed_per_s=failed[-1] if failed[-1] < math.inf else None,
        held=tuple(outcome.holds for outcome in outcomes),
        made=held,
    )


def _next_rate(low: float, high: float, rate: float) -> float:
    """Down or up by a factor of 2 until a rate held and one failed, then between the two."""
    if low == 0:
        return rate / 2
    return rate * 2 if high == math.inf else math.sqrt(low * high)


@dataclass(frozen=True)
class _Outcome:
    """One trial: whether the bounds held, and the queries that were made."""

    holds: bool
    made: Made


def _try(trial: Trial, rate_per_s: float, bounds: Sequence[Bound]) -> _Outcome:
    queries = queries_at(rate_per_s)
    allowed = allowed_above(queries)
    made = trial(rate_per_s, queries, allowed)
    # A trial that was given up made fewer queries than it should have.
    whole = len(made.latency_ns) == queries
    within = all(bound.above(made) <= allowed for bound in bounds)
    return _Outcome(whole and within and not _growing(made.latency_ns, rate_per_s), made)


def _growing(latency_ns: Array, rate_per_s: float) -> bool:
    """Whether the last queries waited for so long that the queue can't have been steady."""
    trial_ns = 1e9 * len(latency_ns) / rate_per_s
    last = latency_ns[-max(1, len(latency_ns) // 100) :]
    return bool(np.median(last) > GROWTH * trial_ns)


def _too_short(bound: Bound) -> Unsupported:
    return Unsupported(
        f"{bound.what} takes {duration(bound.alone_ns)}, so a {bound.name} bound of "
        f"{duration(bound.limit_ns)} does not hold at any rate. Give a bound above that: "
        f"{duration(5 * bound.alone_ns)} leaves room for a queue."
    )


def _hopeless(last: _Outcome, rate: float, bounds: Sequence[Bound]) -> Unsupported:
    """What was seen of the bound that the most queries were beyond."""
    worst = max(bounds, key=lambda bound: bound.above(last.made))
    longest_ns = float(worst.of(last.made).max(initial=0))
    return Unsupported(
        f"the {worst.name} bound of {duration(worst.limit_ns)} does not hold at any rate: even at "
        f"{significant(rate)} queries/s {worst.above(last.made)} of "
        f"{len(last.made.latency_ns)} took longer, up to {duration(longest_ns)} "
        f"({worst.what} takes {duration(worst.alone_ns)}). "
        "Give a bound above that, or keep other programs off this machine."
    )
