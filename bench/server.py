"""The server scenario's search: the highest Poisson rate at which the latency bound holds.

MLPerf Inference's *server*: queries arrive at random moments, one sample each; the figure is the
rate at which the 99th percentile of latency, counted from the scheduled arrival, stays within a
bound. Whether it holds is decided by MLPerf's early-stopping rule: of n queries t may be late iff
n >= h(t) + t (`bench.stats.percentile.minimum_samples`). The rule wants to be 99% sure and a rate
has two attempts: on made-up servers the rate found lay between 15% below and 6% above the true one
(tests/test_server.py); the interval over invocations shows the spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.errors import Unsupported
from bench.stats.percentile import minimum_samples

Array = np.ndarray[Any, np.dtype[np.int64]]

PERCENTILE = 0.99
#: The search ends when the highest rate that held and the lowest that did not are this close.
TOLERANCE = 0.02
#: Halving the bracket from a factor of 2 to 2% takes 6 trials; the rest is for finding a bracket.
MOST_TRIALS = 30
#: A rate is given up after so many failures: one may be chance, and a search can't undo it.
ATTEMPTS = 2
#: Queries of a trial: as many as arrive in this time, within the two limits.
TRIAL_S = 0.4
FEWEST_QUERIES = 4 * minimum_samples(PERCENTILE)
MOST_QUERIES = 20_000
#: Below this share of the rate of back-to-back calls a bound that fails is taken to be hopeless.
LOWEST_SHARE = 0.01

#: (rate per s, queries, allowed above the bound) -> latencies in ns of the queries that were made
Trial = Callable[[float, int, int], Array]


@dataclass(frozen=True)
class Capacity:
    """What a search found. ``latency_ns`` are those of the last trial that held."""

    rate_per_s: float
    lowest_failed_per_s: float | None
    trials: int
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

    ``service_ns`` is the latency of back-to-back calls. Raises `Unsupported` where the bound
    can't be met at any rate, with what was seen.
    """
    limit = 1e9 / service_ns
    low, high, rate = 0.0, limit, limit / 2
    held: Array | None = None
    outcomes: list[_Outcome] = []
    while len(outcomes) < MOST_TRIALS and rate >= limit * LOWEST_SHARE:
        for _ in range(ATTEMPTS):
            outcomes.append(_try(trial, rate, bound_ns))
            if outcomes[-1].holds:
                break
        if outcomes[-1].holds:
            low, held = rate, outcomes[-1].latency_ns
        else:
            high = rate
        if held is not None and high <= low * (1 + TOLERANCE):
            break
        rate = math.sqrt(low * high) if held is not None else rate / 2
    if held is None:
        raise _hopeless(outcomes[-1], high, service_ns, bound_ns)
    return Capacity(low, high if high < limit else None, len(outcomes), held)


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
    return _Outcome(len(latency_ns) == queries and late <= allowed, late, latency_ns)


def _hopeless(last: _Outcome, rate: float, service_ns: float, bound_ns: float) -> Unsupported:
    worst_ms = float(last.latency_ns.max(initial=0)) / 1e6
    return Unsupported(
        f"the latency bound of {bound_ns / 1e6:g} ms does not hold at any rate: even at "
        f"{rate:.3g} queries/s {last.late} of {len(last.latency_ns)} took longer, up to "
        f"{worst_ms:.3g} ms (one alone takes {service_ns / 1e6:.3g} ms). Give a bound above that, "
        "or keep other programs off this machine."
    )
