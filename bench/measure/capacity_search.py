"""The server scenario's search: the highest Poisson rate at which the latency bound holds.

MLPerf Inference's *server*: queries arrive at random moments, one sample each; the figure is the
rate at which the 99th percentile of latency, counted from the scheduled arrival, stays within a
bound. Whether it holds is decided by MLPerf's early-stopping rule: of n queries t may be late iff
n >= h(t) + t (`bench.stats.percentile.minimum_samples`). The rule wants to be 99% sure and a rate
has two attempts: on made-up servers the rate found lay between 15% below and 6% above the true one
(tests/measure/test_capacity_search.py); the interval over invocations shows the spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.errors import Unsupported
from bench.numbers import duration
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
FEWEST_QUERIES = 4 * minimum_samples(PERCENTILE)
MOST_QUERIES = 20_000
#: A bound that is long against a trial would hold in overload too: the queue that is left at the
#: end, in time, must not be more than this share of the trial.
GROWTH = 0.01
#: Below this share of the rate of back-to-back calls a bound that fails is taken to be hopeless.
LOWEST_SHARE = 0.01

#: (rate per s, queries, allowed above the bound) -> latencies in ns of the queries that were made
Trial = Callable[[float, int, int], Array]


@dataclass(frozen=True)
class Capacity:
    """What a search found. ``latency_ns`` are those of the last trial that held; ``held`` says of
    each trial whether it did."""

    rate_per_s: float
    lowest_failed_per_s: float | None
    held: tuple[bool, ...]
    latency_ns: Array


def queries_at(rate_per_s: float) -> int:
    """How many queries a trial makes."""
    return min(MOST_QUERIES, max(FEWEST_QUERIES, math.ceil(rate_per_s * TRIAL_S)))


def allowed_above(queries: int) -> int:
    """The most queries that may be late: the greatest t with n >= h(t) + t."""
    low, high = 0, queries
    while high - low > 1:
        middle = (low + high) // 2
        if minimum_samples(PERCENTILE, above=middle) <= queries:
            low = middle
        else:
            high = middle
    return low


def find_capacity(trial: Trial, service_ns: float, bound_ns: float) -> Capacity:
    """The highest rate whose trial holds, to `TOLERANCE`.

    ``service_ns`` is the latency of a call that nothing disturbed; the search begins at half the
    rate that it allows, and goes up as long as trials hold: calls can become faster under load.
    The rate that ends the search is tried again at its end, for what stalled the machine once can
    fail several rates in a row; where it holds now, the search goes on above it.
    Raises `Unsupported` where the bound can't be met at any rate, with what was seen.
    """
    if bound_ns <= service_ns:
        raise _too_short(service_ns, bound_ns)
    start = 0.5e9 / service_ns
    low, rate, failed = 0.0, start, [math.inf]
    held: Array | None = None
    outcomes: list[_Outcome] = []
    while len(outcomes) < MOST_TRIALS and rate >= 2 * start * LOWEST_SHARE:
        for _ in range(ATTEMPTS):
            outcomes.append(_try(trial, rate, bound_ns))
            if outcomes[-1].holds:
                break
        if outcomes[-1].holds:
            low, held = rate, outcomes[-1].latency_ns
            failed = [f for f in failed if f > rate]
        elif rate not in failed:
            failed.append(rate)
        else:  # failed again, later
            break
        narrow = held is not None and failed[-1] <= low * (1 + TOLERANCE)
        rate = failed[-1] if narrow else _next_rate(low, failed[-1], rate)
    if held is None:
        raise _hopeless(outcomes[-1], failed[-1], service_ns, bound_ns)
    return Capacity(
        rate_per_s=low,
        lowest_failed_per_s=failed[-1] if failed[-1] < math.inf else None,
        held=tuple(outcome.holds for outcome in outcomes),
        latency_ns=held,
    )


def _next_rate(low: float, high: float, rate: float) -> float:
    """Down or up by a factor of 2 until a rate held and one failed, then between the two."""
    if low == 0:
        return rate / 2
    return rate * 2 if high == math.inf else math.sqrt(low * high)


@dataclass(frozen=True)
class _Outcome:
    """One trial: whether the bound held, and the latencies of the queries that were made."""

    holds: bool
    late: int
    latency_ns: Array


def _try(trial: Trial, rate_per_s: float, bound_ns: float) -> _Outcome:
    queries = queries_at(rate_per_s)
    allowed = allowed_above(queries)
    latency_ns = trial(rate_per_s, queries, allowed)
    late = int((latency_ns > bound_ns).sum())
    # A trial that was given up made fewer queries than it should have.
    holds = len(latency_ns) == queries and late <= allowed
    return _Outcome(holds and not _growing(latency_ns, rate_per_s), late, latency_ns)


def _growing(latency_ns: Array, rate_per_s: float) -> bool:
    """Whether the last queries waited for so long that the queue can't have been steady."""
    trial_ns = 1e9 * len(latency_ns) / rate_per_s
    last = latency_ns[-max(1, len(latency_ns) // 100) :]
    return bool(np.median(last) > GROWTH * trial_ns)


def _too_short(service_ns: float, bound_ns: float) -> Unsupported:
    return Unsupported(
        f"one query alone takes {duration(service_ns)}, so a latency bound of {duration(bound_ns)} "
        f"does not hold at any rate. Give a bound above that: {duration(5 * service_ns)} leaves "
        "room for a queue."
    )


def _hopeless(last: _Outcome, rate: float, service_ns: float, bound_ns: float) -> Unsupported:
    worst_ns = float(last.latency_ns.max(initial=0))
    return Unsupported(
        f"the latency bound of {duration(bound_ns)} does not hold at any rate: even at "
        f"{rate:.3g} queries/s {last.late} of {len(last.latency_ns)} took longer, up to "
        f"{duration(worst_ns)} (one alone takes {duration(service_ns)}). Give a bound above that, "
        "or keep other programs off this machine."
    )
