"""The timed loop, and finding out when a session has warmed up."""

from __future__ import annotations

import time
from itertools import repeat, starmap
from typing import Any, Callable

import numpy as np

from bench.worker.messages import Warmup

Call = Callable[[], object]
Clock = Callable[[], int]

#: Runtimes reached their steady state within 0 to 9 calls where this was measured (see
#: docs/method.md): at least 10 calls, then 5 in a row within 10% of each other.
WARMUP_CALLS = 10
STEADY_WINDOW = 5
STEADY_SPREAD = 0.10


def time_calls(
    call: Call, calls: int, clock: Clock = time.perf_counter_ns
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Latencies in nanoseconds, int64 of shape (calls,), of ``calls`` back-to-back calls.

    One clock reading a call: each reading ends one sample and starts the next, which costs half
    of a pair of readings around each call and leaves no gap. `starmap` makes the call without a
    line of Python around it (a third less than a loop of two lines, 28 ns a call), and a list of
    plain ints keeps the garbage collector out.
    """
    began = clock()
    marks = np.array([began, *[clock() for _ in starmap(call, repeat((), calls))]], dtype=np.int64)
    return np.subtract(marks[1:], marks[:-1])


def warm_up(call: Call, budget_s: float, clock: Clock = time.perf_counter_ns) -> Warmup:
    """Call until the latency is steady, or until ``budget_s`` seconds are spent.

    At least one window is always taken, however slow the call, so that the latency of a slow
    model is known; "steady" means that the middle three of the last `STEADY_WINDOW` calls lie
    within `STEADY_SPREAD` of each other: one interrupt must not hide that a session is warm.
    """
    started = clock()
    latencies: list[int] = []
    while True:
        before = clock()
        call()
        latencies.append(clock() - before)
        window = sorted(latencies[-STEADY_WINDOW:])
        if len(latencies) >= WARMUP_CALLS and is_steady(window):
            return Warmup(len(latencies), True, window[len(window) // 2])
        spent_s = (clock() - started) / 1e9
        if spent_s > budget_s and len(latencies) >= STEADY_WINDOW:
            settled = len(latencies) < WARMUP_CALLS and is_steady(window)
            return Warmup(len(latencies), settled, window[len(window) // 2])


def is_steady(window: list[int]) -> bool:
    """Whether a sorted window of latencies is flat, its extremes apart."""
    middle = window[1:-1]
    return middle[-1] <= middle[0] * (1 + STEADY_SPREAD)
