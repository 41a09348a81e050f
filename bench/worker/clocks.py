"""Bringing a device to its working clock before calls are timed.

A GPU that idles lowers its clock, and other workers' turns are a while in which this one's does. So
the model itself is called, untimed, until the clock has stopped rising, as far as the device tells
its clock; where it still has the clock that it settled at before, no call is made.
"""

from __future__ import annotations

import time
from typing import Callable, Optional, Tuple

from bench.capabilities import Reading

Clock = Callable[[], int]
#: Between two looks at the clock: the driver's view of it is no finer than some ms.
_BURST_NS = 5_000_000
#: A clock that did not rise in so many bursts one after the other has settled.
_BURSTS = 3
#: Steps of a GPU's clock are below 1% of it (15 MHz of 2 GHz).
_STEP = 0.01
#: However slowly it rises, a block's turn does not take longer.
_BUDGET_NS = 300_000_000


class WorkingClock:
    """The clock that one worker's device settles at under its model."""

    def __init__(self, clock: Clock = time.perf_counter_ns) -> None:
        self._clock = clock
        self._settled_hz: Optional[float] = None

    def reach(self, call: Callable[[], object], read: Callable[[], Reading]) -> Tuple[Reading, int]:
        """Call until the device's clock has settled; what it told last, and how many calls that
        took. None are made where it tells no clock."""
        reading, calls = read(), 0
        highest = reading.get("clock_hz")
        if highest is None or not self._is_below(highest):
            return reading, calls
        started, idle_bursts = self._clock(), 0
        while idle_bursts < _BURSTS and self._clock() - started < _BUDGET_NS:
            calls += self._burst(call)
            reading = read()
            now = reading.get("clock_hz", 0.0)
            idle_bursts = 0 if now > highest * (1 + _STEP) else idle_bursts + 1
            highest = max(highest, now)
        self._settled_hz = reading.get("clock_hz")
        return reading, calls

    def _is_below(self, hz: float) -> bool:
        return self._settled_hz is None or hz < self._settled_hz * (1 - _STEP)

    def _burst(self, call: Callable[[], object]) -> int:
        started, calls = self._clock(), 0
        while calls == 0 or self._clock() - started < _BURST_NS:
            call()
            calls += 1
        return calls
