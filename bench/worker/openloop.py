"""Queries that arrive when they arrive: MLPerf's *server* scenario, inside the worker.

The generator is open-loop: arrivals are drawn before, and never wait for the system. A query's
latency runs from its *scheduled* arrival, so while the system stalls, every query that queues
behind the stall counts it (Tene, "How NOT to Measure Latency": the alternative, timing from when
a query could be sent at last, is called coordinated omission).
"""

from __future__ import annotations

import time
from typing import Any, Callable, NamedTuple, Sequence, Tuple

import numpy as np

Call = Callable[[], object]
Clock = Callable[[], int]
Sleep = Callable[[float], object]
Array = np.ndarray[Any, np.dtype[np.int64]]
#: Whether a query was too slow, by when it was due and when it had its answer.
Beyond = Callable[[int, int], bool]

#: A sleeping process wakes up to 1.2 ms late on a virtual machine: the last stretch is spun.
SPIN_NS = 2_000_000


class Served(NamedTuple):
    """What became of the queries of one trial, in the order of their arrival."""

    latency_ns: Array  #: from the scheduled arrival to the answer; shorter where it was given up
    late_ns: Array  #: how late the generator was, of the queries that found the system idle
    above: Tuple[int, ...]  #: queries beyond each bound
    due_ns: Array  #: when each query was due, on the clock


def poisson_arrivals_ns(rate_per_s: float, queries: int, seed: int | list[int]) -> Array:
    """When queries arrive: int64 of shape (queries,), in ns after the start, ascending.

    A Poisson process has independent, exponentially distributed gaps of mean 1 / rate. The gaps
    of one seed are the same at every rate, only stretched.
    """
    if not rate_per_s > 0:
        raise ValueError(f"a rate must be above 0, not {rate_per_s}")
    gaps_ns = np.random.default_rng(seed).exponential(1e9 / rate_per_s, queries)
    return np.cumsum(gaps_ns).astype(np.int64)


def longer_than(bound_ns: float) -> Beyond:
    """Whether the answer came later than ``bound_ns`` after the query was due."""
    return lambda due, now: now - due > bound_ns


def serve(
    call: Call,
    arrivals_ns: Array,
    bounds: Sequence[Beyond] = (),
    allowed_above: int = 0,
    clock: Clock = time.perf_counter_ns,
    sleep: Sleep = time.sleep,
    spin_ns: int = SPIN_NS,
) -> Served:
    """Make one call for each arrival, one at a time, in order.

    Gives up as soon as more than ``allowed_above`` queries are beyond one of ``bounds``: no later
    query can mend that, and the backlog of an overloaded system only grows.
    """
    latencies: list[int] = []
    late: list[int] = []
    above = [0] * len(bounds)
    # Before the clock starts: making the list takes longer than many a call.
    arrivals = arrivals_ns.tolist()
    began = now = clock()
    for arrival in arrivals:
        due = began + arrival
        if now < due:
            now = _wait(due, now, clock, sleep, spin_ns)
            late.append(now - due)
        call()
        now = clock()
        latencies.append(now - due)
        for place, beyond in enumerate(bounds):
            above[place] += beyond(due, now)
        if max(above, default=0) > allowed_above:
            break
    latency_ns = np.array(latencies, np.int64)
    due_ns = began + arrivals_ns[: len(latencies)]
    return Served(latency_ns, np.array(late, np.int64), tuple(above), due_ns)


def _wait(due: int, now: int, clock: Clock, sleep: Sleep, spin_ns: int) -> int:
    """Sleep, then spin, until ``due``; the time when that was noticed."""
    if due - now > spin_ns:
        sleep((due - now - spin_ns) / 1e9)
        now = clock()
    while now < due:
        now = clock()
    return now
